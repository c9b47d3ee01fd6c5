//! From the document to the fields: as lenient with numbers and truths as its writers have to be,
//! and with errors in their words.
//!
//! In a `Struct` in its YAML, Envoy hands over every number with a fraction or an exponent as a text,
//! and templates put whatever they like into quotes. So a text that says a number is one wherever a
//! number is wanted, and a text that says yes or no likewise.
//!
//! Where something else is there than what is wanted, the visitor's `expecting` says in the error
//! what may be there. Those of serde's own types have names of Rust's in them, so for whole numbers,
//! truths, texts, lists, objects and choices the words are here, and the visitor's are not used.
//! Floating-point numbers (`deserialize_f64`), texts that mean something (`deserialize_str`) and
//! what may be one of several kinds (`deserialize_any`) need visitors of their own.
//!
//! What is missing is the same as `null`, but for the words: so it is not an error of serde's, which
//! could not tell what it should be. That makes a `default` that is not `None` impossible.

use std::fmt;
use std::iter::Enumerate;
use std::marker::PhantomData;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

use super::document::number;
use super::error::ConfigError;
use super::nearest::nearest;

/// The fields of a document, where all that there are stand in `places`.
///
/// # Errors
/// On unknown fields, and on whatever can't be in the place where it is.
pub(super) fn read<T: DeserializeOwned>(
    document: &Value,
    places: &[Place],
) -> Result<T, ConfigError> {
    let value = Some(document);
    T::deserialize(Written { value, places })
}

/// A place for options.
pub(super) struct Place {
    /// Where it is: an option stands `in rebalance`.
    pub(super) at: &'static str,
    /// Which options it has.
    pub(super) fields: &'static [&'static str],
}

/// An object, or `off` in its place.
#[derive(Clone, Copy)]
pub(super) enum OrOff<T> {
    /// It is not wanted.
    Off,
    /// It is, with these options.
    On(T),
}

/// How [`OrOff`] makes itself known to the document: serde has no form for it.
const OR_OFF: &str = "OrOff";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrOffVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OrOffVisitor<T> {
            type Value = OrOff<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or off")
            }

            fn visit_unit<E>(self) -> Result<OrOff<T>, E> {
                Ok(OrOff::Off)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<OrOff<T>, D::Error> {
                T::deserialize(deserializer).map(OrOff::On)
            }
        }

        deserializer.deserialize_newtype_struct(OR_OFF, OrOffVisitor(PhantomData))
    }
}

/// The number that a text says, where it says one: digits with or without a sign, a fraction and an
/// exponent.
pub(super) fn number_in(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    // Neither `inf` nor `nan` nor what is too large for a double.
    number.is_finite().then_some(number)
}

/// What Envoy's YAML takes for true, in any case, …
pub(super) const YES: [&str; 4] = ["true", "yes", "on", "y"];
/// … and for false.
pub(super) const NO: [&str; 4] = ["false", "no", "off", "n"];

/// What a text would be to Envoy's YAML if it were not in quotes.
fn truth_in(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(YES) {
        Some(true)
    } else {
        is_one_of(NO).then_some(false)
    }
}

/// A value as it is written; none where nothing is.
#[derive(Clone, Copy)]
struct Written<'document> {
    value: Option<&'document Value>,
    places: &'document [Place],
}

impl<'document> Written<'document> {
    fn of(self, value: &'document Value) -> Self {
        Self {
            value: Some(value),
            ..self
        }
    }

    /// Something else is there than what is wanted.
    fn unlike(self, expected: &dyn Expected) -> ConfigError {
        match self.value {
            None => ConfigError::missing(expected),
            Some(value) => ConfigError::unlike(unexpected(value), expected),
        }
    }

    /// An option is here that is none of those that are known here.
    fn unknown(self, name: &str, known: &[&str]) -> ConfigError {
        let mut places = self.places.iter();
        let reason = if let Some(place) = places.find(|place| place.fields.contains(&name)) {
            format!("is not an option here: it stands {}", place.at)
        } else if let Some(meant) = nearest(name, known) {
            format!("is not an option: did you mean {meant}?")
        } else {
            format!("is not an option: there are {}", listed(known))
        };
        ConfigError::here(reason).within(name)
    }

    /// A truth, or a text that says one.
    fn truth(self) -> Option<bool> {
        match self.value? {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) => truth_in(text),
            _ => None,
        }
    }

    /// A number, or a text that says one.
    fn number(self) -> Option<Number> {
        match self.value? {
            // JSON's `2.0` is as whole as `2`.
            Value::Number(double) if double.is_f64() => double.as_f64().and_then(number),
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => number_in(text).and_then(number),
            _ => None,
        }
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(number) => {
            let unsigned = number.as_u64().map(Unexpected::Unsigned);
            let signed = || number.as_i64().map(Unexpected::Signed);
            let double = || Unexpected::Float(number.as_f64().unwrap_or(f64::NAN));
            unsigned.or_else(signed).unwrap_or_else(double)
        }
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

fn visit<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, ConfigError> {
    if let Some(number) = number.as_u64() {
        visitor.visit_u64(number)
    } else if let Some(number) = number.as_i64() {
        visitor.visit_i64(number)
    } else {
        visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// The kinds of whole numbers, with the words for them.
macro_rules! whole_numbers {
    ($($method:ident $words:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            let read = self.number().and_then(|number| visit(&number, visitor).ok());
            // What serde says of a fraction, or of one that is too large, is in other words.
            read.ok_or_else(|| self.unlike(&$words))
        }
    )*};
}

impl<'de> Deserializer<'de> for Written<'_> {
    type Error = ConfigError;

    whole_numbers! {
        deserialize_u8 "a whole number from 0 to 255"
        deserialize_u16 "a whole number from 0 to 65535"
        deserialize_u32 "a whole number from 0 to 4294967295"
        deserialize_u64 "a whole number from 0"
        deserialize_i8 "a whole number from -128 to 127"
        deserialize_i16 "a whole number from -32768 to 32767"
        deserialize_i32 "a whole number from -2147483648 to 2147483647"
        deserialize_i64 "a whole number"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            None => Err(self.unlike(&visitor)),
            Some(Value::Null) => visitor.visit_unit(),
            Some(Value::Bool(truth)) => visitor.visit_bool(*truth),
            Some(Value::Number(number)) => visit(number, visitor),
            Some(Value::String(text)) => visitor.visit_str(text),
            Some(Value::Array(_)) => self.deserialize_seq(visitor),
            Some(Value::Object(_)) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.number() {
            Some(number) => visit(&number, visitor),
            None => Err(self.unlike(&visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.truth() {
            Some(truth) => visitor.visit_bool(truth),
            None => Err(self.unlike(&"true or false")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            Some(Value::String(text)) => visitor.visit_str(text),
            _ => Err(self.unlike(&"a text: put it in quotes")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            Some(Value::String(text)) => visitor.visit_str(text),
            _ => Err(self.unlike(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            None | Some(Value::Null) => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        if name == OR_OFF && self.truth() == Some(false) {
            return visitor.visit_unit();
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            Some(Value::Array(items)) => visitor.visit_seq(Items {
                list: self,
                left: items.iter().enumerate(),
            }),
            _ => Err(self.unlike(&"a list: put it in [ ]")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value {
            Some(Value::Object(entries)) => {
                let entries = entries.iter();
                let left = entries.map(|(name, value)| (name.as_str(), self.of(value)));
                visitor.visit_map(Entries { left, next: None })
            }
            _ => Err(self.unlike(&"an object of names and values")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let Some(Value::Object(entries)) = self.value else {
            let expected = format!("an object with {}", listed(fields));
            return Err(self.unlike(&expected.as_str()));
        };
        if let Some(name) = entries.keys().find(|name| !fields.contains(&name.as_str())) {
            return Err(self.unknown(name, fields));
        }
        let left = fields.iter().map(|name| {
            let value = entries.get(*name);
            (*name, Written { value, ..self })
        });
        visitor.visit_map(Entries { left, next: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let error = || self.unlike(&format!("one of {}", listed(variants)).as_str());
        let (name, content) = match self.value {
            Some(Value::String(name)) => (name, None),
            Some(Value::Object(entries)) if entries.len() == 1 => {
                let (name, content) = entries.iter().next().ok_or_else(error)?;
                (name, Some(self.of(content)))
            }
            _ => return Err(error()),
        };
        if variants.contains(&name.as_str()) {
            return visitor.visit_enum(Choice {
                name,
                content: content.unwrap_or(Written {
                    value: None,
                    ..self
                }),
            });
        }
        match (content, nearest(name, variants)) {
            (Some(_), _) => Err(self.unknown(name, variants)),
            (None, Some(meant)) => Err(error().hint(&format!("did you mean {meant}?"))),
            (None, None) => Err(error()),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// `a, b and c`
fn listed(names: &[&str]) -> String {
    match names {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        few => few.concat(),
    }
}

/// The entries of a list.
struct Items<'document> {
    list: Written<'document>,
    left: Enumerate<slice::Iter<'document, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        let Some((index, item)) = self.left.next() else {
            return Ok(None);
        };
        let item = seed.deserialize(self.list.of(item));
        item.map(Some).map_err(|error| error.at(index))
    }
}

/// The fields of an object, perhaps with such as are missing.
struct Entries<'document, I> {
    left: I,
    next: Option<(&'document str, Written<'document>)>,
}

impl<'document, 'de, I> MapAccess<'de> for Entries<'document, I>
where
    I: Iterator<Item = (&'document str, Written<'document>)>,
{
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        self.next = self.left.next();
        let Some((name, _)) = self.next else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ConfigError> {
        let Some((name, value)) = self.next.take() else {
            return Err(ConfigError::here("has a value without a name"));
        };
        seed.deserialize(value).map_err(|error| error.within(name))
    }
}

/// One of several, by its name alone or with what belongs to it.
struct Choice<'document> {
    name: &'document str,
    content: Written<'document>,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = ConfigError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), ConfigError> {
        let variant = seed.deserialize(StrDeserializer::new(self.name))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = ConfigError;

    fn unit_variant(self) -> Result<(), ConfigError> {
        match self.content.value {
            None => Ok(()),
            Some(_) => Err(ConfigError::here("is a name alone").within(self.name)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ConfigError> {
        let content = seed.deserialize(self.content);
        content.map_err(|error| error.within(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ConfigError> {
        Err(ConfigError::here("can't be a list").within(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ConfigError> {
        Err(ConfigError::here("can't be an object").within(self.name))
    }
}
