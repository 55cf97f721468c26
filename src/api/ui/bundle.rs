//! The modules of `src/ui` as the one script that browsers load: each in a function of its own, after those that it imports.
//!
//! It knows the one way in which they import and export, a line each, and nothing else of the language; it panics at any
//! other, which a test of this file would meet first.

use std::collections::HashSet;

use super::File;

/// What `start` needs, in order, and then `start` itself.
pub fn bundle(start: &str, modules: &[File]) -> String {
    let (mut out, mut seen) = (String::new(), HashSet::new());
    add(start, modules, &mut seen, &mut out);
    out
}

fn add(name: &str, modules: &[File], seen: &mut HashSet<String>, out: &mut String) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    let (_, text) = modules.iter().find(|(there, _)| *there == name).unwrap_or_else(|| panic!("there is no {name}"));
    let (mut body, mut exports) = (String::new(), Vec::new());
    let text = super::without_comments(name, text);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line = if line.starts_with("import ") {
            let (names, from) = import(line).unwrap_or_else(|| panic!("{name}: {line}"));
            add(&from, modules, seen, out);
            format!("const {{{names}}} = {}", variable(&from))
        } else if let Some(exported) = line.strip_prefix("export ") {
            exports.push(declared(exported).unwrap_or_else(|| panic!("{name}: {line}")));
            exported.to_owned()
        } else {
            line.to_owned()
        };
        body.push_str(&line);
        body.push('\n');
    }
    let exports = exports.join(", ");
    out.push_str(&format!("const {} = (() => {{\n{body}return {{ {exports} }}\n}})()\n", variable(name)));
}

/// The names between the braces, and the file.
fn import(line: &str) -> Option<(&str, String)> {
    let (names, from) = line.strip_prefix("import {")?.split_once("} from './")?;
    (!names.contains(" as ")).then_some((names, from.strip_suffix('\'')?.to_owned()))
}

/// The name that a line declares.
fn declared(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line);
    let rest = ["function ", "class ", "const "].iter().find_map(|word| rest.strip_prefix(word))?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    (end > 0).then(|| &rest[..end])
}

fn variable(name: &str) -> String {
    format!("${}", name.trim_end_matches(".js"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_stands_once_and_after_those_that_it_imports() {
        let modules: &[File] = &[
            ("app.js", "import { b } from './b.js'\nimport { c } from './c.js'\n// what it does\nb(c)\n"),
            ("b.js", "import { c } from './c.js'\nexport const b = () => c\nexport async function d() {}\n"),
            ("c.js", "export class c {\n}\n"),
            ("unused.js", "never()\n"),
        ];
        let expected = "const $c = (() => {\nclass c {\n}\nreturn { c }\n})()\n\
            const $b = (() => {\nconst { c } = $c\nconst b = () => c\nasync function d() {}\nreturn { b, d }\n})()\n\
            const $app = (() => {\nconst { b } = $b\nconst { c } = $c\nb(c)\nreturn {  }\n})()\n";
        assert_eq!(bundle("app.js", modules), expected);
    }
}
