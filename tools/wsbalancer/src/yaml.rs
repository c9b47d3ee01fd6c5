//! YAML with the lines on which its values stand, and as whoever reads a file makes JSON of it.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// More nodes than this are no configuration, but aliases of aliases.
const MOST_NODES: usize = 1_000_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first line, from 1.
    pub line: usize,
    /// What it is.
    pub content: Content,
}

/// What a node can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text, a number, a truth or nothing: which of them depends on the [`Dialect`].
    Scalar {
        /// As it is written, without its quotes.
        text: String,
        /// How it is written.
        form: Form,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// An object, in the order in which it is written. The last of several entries with the same
    /// name counts.
    Mapping(Vec<(String, Node)>),
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Without quotes, so that it may be something else than a text.
    Plain,
    /// With quotes, or with a tag.
    Quoted,
    /// Over several lines of the file, each of which is one of the text.
    Block,
}

/// Who makes JSON of a file's YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Envoy, of its own configuration: what has a fraction or an exponent is a text.
    Envoy,
    /// Kubernetes' tools, and whoever else takes numbers for numbers.
    Kubernetes,
}

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// On which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The documents of a text. What is empty is none.
///
/// # Errors
/// Where the text is no YAML.
pub fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            line: error.marker().line(),
            reason: error.info(),
        })?;
        builder.take(event, span)?;
    }
    let documents = builder.documents.into_iter();
    Ok(documents
        .filter(|document| document.to_json(Dialect::Kubernetes) != Value::Null)
        .collect())
}

impl Node {
    /// The field of this name; none where there is none, or this is no object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let mut entries = self.entries().iter().rev();
        entries
            .find(|(known, _)| known == name)
            .map(|(_, node)| node)
    }

    /// The fields; none where this is no object.
    #[must_use]
    pub fn entries(&self) -> &[(String, Self)] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items; none where this is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(items) => items,
            _ => &[],
        }
    }

    /// What is written here, where it is no list and no object.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The line of the file that has this line of the text here, both from 1.
    #[must_use]
    pub fn line_of(&self, line: usize) -> usize {
        match &self.content {
            Content::Scalar {
                form: Form::Block, ..
            } => self.line + line - 1,
            _ => self.line,
        }
    }

    /// The node on a path such as `services[0].cluster`, or the last one before it is lost.
    #[must_use]
    pub fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
        for step in steps {
            let next = match step.strip_suffix(']') {
                Some(index) => index.parse().ok().and_then(|i: usize| node.items().get(i)),
                None => node.get(step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// What somebody makes of it.
    #[must_use]
    pub fn to_json(&self, dialect: Dialect) -> Value {
        match &self.content {
            Content::Scalar {
                text,
                form: Form::Plain,
            } => scalar(text, dialect),
            Content::Scalar { text, .. } => Value::String(text.clone()),
            Content::Sequence(items) => items.iter().map(|item| item.to_json(dialect)).collect(),
            Content::Mapping(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(name, node)| (name.clone(), node.to_json(dialect)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// How many nodes there are.
    fn size(&self) -> usize {
        let below: usize = match &self.content {
            Content::Scalar { .. } => 0,
            Content::Sequence(items) => items.iter().map(Self::size).sum(),
            Content::Mapping(entries) => entries.iter().map(|(_, node)| node.size()).sum(),
        };
        below.saturating_add(1)
    }
}

/// What a text without quotes is.
fn scalar(text: &str, dialect: Dialect) -> Value {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(truth) = truth(text) {
        return Value::Bool(truth);
    }
    let number = match dialect {
        Dialect::Envoy => whole(text).map(Number::from),
        Dialect::Kubernetes => {
            let whole = whole(text).map(Number::from);
            whole.or_else(|| fraction(text).and_then(Number::from_f64))
        }
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Both take the words of YAML 1.1, in lower case, in upper case, and with a capital.
fn truth(text: &str) -> Option<bool> {
    let is_capital = |(index, c): (usize, char)| index == 0 || c.is_ascii_lowercase();
    let is_lower = text.chars().all(|c| c.is_ascii_lowercase());
    let is_upper = text.chars().all(|c| c.is_ascii_uppercase());
    if !(is_lower || is_upper || text.chars().enumerate().all(is_capital)) {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// A whole number as it can be written in C; more than a double can count is none.
fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let number = match (hexadecimal, octal) {
        (Some(digits), _) => i64::from_str_radix(digits, 16),
        (None, Some(digits)) => i64::from_str_radix(digits, 8),
        (None, None) => digits.parse(),
    };
    number
        .ok()
        .filter(|number| *number < 1 << 53)
        .map(|number| sign * number)
}

/// A number with a fraction or an exponent.
fn fraction(text: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    text.chars().all(is_part).then(|| text.parse().ok())?
}

/// A list or an object that has not ended yet.
struct Open {
    line: usize,
    anchor: usize,
    content: Content,
    /// The name whose value comes next.
    name: Option<String>,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(line, 1)?;
                let form = match style {
                    ScalarStyle::Plain if tag.is_none() => Form::Plain,
                    ScalarStyle::Literal => Form::Block,
                    _ => Form::Quoted,
                };
                let text = text.into_owned();
                let content = Content::Scalar { text, form };
                self.add(Node { line, content }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(line, anchor, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                self.begin(line, anchor, Content::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    line,
                    anchor,
                    content,
                    ..
                }) => self.add(Node { line, content }, anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.count(line, node.size())?;
                    self.add(node, 0)
                }
                None => Err(error(line, "an alias of what has not ended yet")),
            },
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, content: Content) -> Result<(), YamlError> {
        self.count(line, 1)?;
        self.open.push(Open {
            line,
            anchor,
            content,
            name: None,
        });
        Ok(())
    }

    fn count(&mut self, line: usize, nodes: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(error(line, "too many values"));
        }
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        let line = node.line;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open { content, name, .. }) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (content, name.take()) {
            (Content::Sequence(items), _) => items.push(node),
            (Content::Mapping(entries), Some(name)) => entries.push((name, node)),
            (Content::Mapping(_), None) => match node.content {
                Content::Scalar { text, .. } => *name = Some(text),
                _ => return Err(error(line, "a name that is no text")),
            },
            (Content::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

fn error(line: usize, reason: &str) -> YamlError {
    YamlError {
        line,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json(text: &str, dialect: Dialect) -> Value {
        let documents = documents(text).unwrap();
        let [document] = &documents[..] else {
            panic!("{} documents", documents.len());
        };
        document.to_json(dialect)
    }

    #[test]
    fn each_reader_makes_its_own_of_numbers() {
        let text = "[1, 1.5, 1e3, .5, 0x10, 017, +60, -7, '1', \"1.5\", 1.2.3, 9007199254740993]";
        assert_eq!(
            json(text, Dialect::Envoy),
            json!([
                1,
                "1.5",
                "1e3",
                ".5",
                16,
                15,
                60,
                -7,
                "1",
                "1.5",
                "1.2.3",
                "9007199254740993"
            ])
        );
        let kubernetes = json(text, Dialect::Kubernetes);
        assert_eq!(kubernetes[1], json!(1.5));
        assert_eq!(kubernetes[2], json!(1000.0));
        assert_eq!(kubernetes[3], json!(0.5));
        assert_eq!(kubernetes[9], json!("1.5"));
        assert_eq!(kubernetes[10], json!("1.2.3"));
    }

    #[test]
    fn truths_and_nothing_are_those_of_yaml_1_1() {
        let text = "[yes, Off, N, TRUE, 'no', oFF, ~, null, \"\", nope]";
        let expected = json!([
            true, false, false, true, "no", "oFF", null, null, "", "nope"
        ]);
        for dialect in [Dialect::Envoy, Dialect::Kubernetes] {
            assert_eq!(json(text, dialect), expected);
        }
        assert_eq!(json("a:", Dialect::Envoy), json!({ "a": null }));
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let text = "a: 1\nb:\n  - c: {d: 2}\n  - e\n---\nf: |\n  text\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 2);
        for (path, line) in [
            ("a", 1),
            ("b", 3),
            ("b[0].c.d", 3),
            ("b[1]", 4),
            ("b[1].x", 4),
        ] {
            assert_eq!(documents[0].nearest(path).line, line, "{path}");
        }
        let block = documents[1].get("f").unwrap();
        assert_eq!(block.text(), Some("text\n"));
        assert_eq!(block.line_of(1), 7);
    }

    #[test]
    fn aliases_are_copies() {
        assert_eq!(
            json("a: &x {b: 1}\nc: [*x, *x]", Dialect::Envoy),
            json!({"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]})
        );
    }

    #[test]
    fn aliases_of_aliases_are_too_much() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(", ");
            text.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
        }
        assert_eq!(documents(&text).unwrap_err().reason, "too many values");
    }

    #[test]
    fn what_is_no_yaml_has_a_line() {
        let error = documents("a: 1\nb: [1, 2\nc: }\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        assert_eq!(documents("# nothing\n---\n").unwrap(), []);
    }
}
