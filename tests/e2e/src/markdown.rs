//! The project's documentation, for the tests that compare it with what it is about.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};

use crate::ROOT;

/// Where Markdown files are, below the root.
const FOLDERS: [&str; 2] = ["", "docs"];

/// A Markdown file.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path, below the root.
    pub file: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Every Markdown file of the root and of `docs/`.
///
/// # Errors
/// When one can't be read.
pub fn pages() -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for folder in FOLDERS {
        for entry in PathBuf::from(ROOT).join(folder).read_dir()? {
            let name = PathBuf::from(entry?.file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                let file = PathBuf::from(folder).join(name);
                let text = fs::read_to_string(PathBuf::from(ROOT).join(&file))
                    .with_context(|| format!("can't read {}", file.display()))?;
                pages.push(Page { file, text });
            }
        }
    }
    Ok(pages)
}

/// The lines of all pages.
///
/// # Errors
/// When one can't be read.
pub fn lines() -> anyhow::Result<Vec<String>> {
    let pages = pages()?;
    let lines = pages.iter().flat_map(|page| page.text.lines());
    Ok(lines.map(str::to_owned).collect())
}

/// The YAML block that begins with the comment `# {title}:`, without it.
///
/// # Errors
/// When there is none, or more than one.
pub fn snippet(title: &str) -> anyhow::Result<String> {
    let start = format!("# {title}:\n");
    let blocks: Vec<String> = blocks("yaml")?
        .into_iter()
        .filter_map(|block| Some(block.strip_prefix(&start)?.to_owned()))
        .collect();
    ensure!(blocks.len() == 1, "{} snippets `{title}`", blocks.len());
    Ok(blocks.concat())
}

/// The blocks of code in `language`, of all pages.
///
/// # Errors
/// When a page can't be read, or a block has no end.
pub fn blocks(language: &str) -> anyhow::Result<Vec<String>> {
    let mut blocks = Vec::new();
    for page in pages()? {
        for rest in page.text.split(&format!("\n```{language}\n")).skip(1) {
            let (block, _) = rest
                .split_once("\n```")
                .with_context(|| format!("{}: a block without an end", page.file.display()))?;
            blocks.push(format!("{block}\n"));
        }
    }
    Ok(blocks)
}

impl Page {
    /// The text without its blocks of code.
    #[must_use]
    pub fn prose(&self) -> String {
        let mut in_block = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.starts_with("```");
            in_block ^= is_fence;
            if !is_fence && !in_block {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// The anchors of its headings, as GitHub makes them.
    #[must_use]
    pub fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| heading.trim_start_matches('#').trim())
            .map(|heading| {
                let heading = heading.to_lowercase();
                let kept = heading
                    .chars()
                    .filter(|&c| c.is_alphanumeric() || "-_ ".contains(c));
                kept.collect::<String>().replace(' ', "-")
            })
            .collect()
    }

    /// Where its links and pictures lead.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let prose = self.prose();
        [
            ("](", ')'),
            ("src=\"", '"'),
            ("srcset=\"", '"'),
            ("href=\"", '"'),
        ]
        .into_iter()
        .flat_map(|(start, end)| prose.split(start).skip(1).map(move |rest| (rest, end)))
        .filter_map(|(rest, end)| rest.split(end).next())
        .map(str::to_owned)
        .collect()
    }
}
