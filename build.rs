//! Puts the status page together: one file, with the policy that allows its style and its script
//! and no others.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const SOURCES: &str = "src/status/page";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCES}");
    let read =
        |name: &str| fs::read_to_string(Path::new(SOURCES).join(name)).map(|text| strip(&text));
    let (style, script) = (read("page.css")?, read("page.js")?);
    let page = read("page.html")?
        .replace("<!-- style -->", &format!("<style>{style}</style>"))
        .replace("<!-- script -->", &format!("<script>{script}</script>"));
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(&style),
        hash(&script)
    );
    let directory = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    let directory = Path::new(&directory);
    fs::write(directory.join("page.html"), page)?;
    fs::write(directory.join("policy.txt"), policy)
}

/// The text without indentation, empty lines and comments that have their lines to themselves:
/// they are for those who read the sources, and would be carried into every Envoy.
fn strip(text: &str) -> String {
    let mut stripped = String::new();
    let mut commented = false;
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        let is_remark = commented || begins || line.starts_with("//");
        commented = (commented || begins) && !line.ends_with("*/");
        if !is_remark && !line.is_empty() {
            stripped.push_str(line);
            stripped.push('\n');
        }
    }
    stripped
}

/// A source expression of a content security policy.
fn hash(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}
