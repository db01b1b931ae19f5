//! The layers of `src/`, which docs/architecture.md draws: a file imports from its own layer and from those below it, no two
//! folders of a layer import each other, and no files import each other in a circle. A name counts for the file that
//! defines it, whatever hands it on. Tests within the files may import what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders and files of each layer, the lowest first.
const LAYERS: [&[&str]; 9] = [
    &["formats", "util"],
    &["store"],
    &["settings", "gate"],
    &["system"],
    &["delivery", "postgres"],
    &["engine"],
    &["cli", "service"],
    &["http"],
    &["bin", "program", "daemon", ""],
];

/// A module: a file of `src/`.
#[derive(Default)]
struct Module {
    /// What its `use` lines name: under which name, and where it is from.
    names: BTreeMap<String, Vec<String>>,
    /// Modules of which it takes everything.
    globs: Vec<Vec<String>>,
    /// The paths in its code.
    paths: Vec<Vec<String>>,
    /// The words in its code.
    words: BTreeSet<String>,
}

/// All modules, by their paths, such as `["store", "catalog"]`.
struct Crate(BTreeMap<Vec<String>, Module>);

fn parts(path: &str) -> Vec<String> {
    path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The code of a file without comments, texts and tests.
fn code_of(text: &str) -> String {
    let mut lines = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        if is_test && line.contains("mod ") && line.ends_with('{') {
            break;
        }
        is_test = line == "#[cfg(test)]";
        let line = if line.trim_start().starts_with("//") { "" } else { line };
        lines.push(line.split(" // ").next().unwrap_or_default());
    }
    let text = lines.join("\n").replace("'\"'", "' '").replace("\\\\", "").replace("\\\"", "");
    text.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Takes `a::{b, c::{d as e}}` apart.
fn leaves(start: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return found.push(format!("{start}{}", tree.trim()));
    };
    let (mut depth, mut begin) = (0, 0);
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let start = format!("{start}{}", head.trim());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let leaf = &inner[begin..at];
                if !leaf.trim().is_empty() {
                    leaves(&start, leaf, found);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

impl Crate {
    fn read(src: &Path) -> Self {
        let mut files = Vec::new();
        collect(src, &mut files);
        let mut texts = BTreeMap::new();
        for file in &files {
            let name = file
                .strip_prefix(src)
                .expect("a file of src")
                .with_extension("")
                .to_string_lossy()
                .replace('/', "::");
            let name = name.strip_suffix("mod").or(name.strip_suffix("lib")).unwrap_or(&name);
            texts.insert(parts(name), code_of(&fs::read_to_string(file).expect("read a file of src")));
        }
        let mut modules = BTreeMap::new();
        for (name, code) in &texts {
            modules.insert(name.clone(), Module::read(name, code, &texts));
        }
        Self(modules)
    }

    /// The module that defines what a path names.
    fn home(&self, path: &[String], depth: usize) -> Vec<String> {
        let mut at = Vec::new();
        for (index, part) in path.iter().enumerate() {
            let deeper = [&at[..], std::slice::from_ref(part)].concat();
            if self.0.contains_key(&deeper) {
                at = deeper;
                continue;
            }
            let module = &self.0[&at];
            if let Some(target) = module.names.get(part).filter(|_| depth < 9) {
                return self.home(&[&target[..], &path[index + 1..]].concat(), depth + 1);
            }
            let of_glob = module.globs.iter().find(|glob| self.0[*glob].words.contains(part));
            return of_glob.cloned().unwrap_or(at);
        }
        at
    }

    /// Which module imports which, and one of the paths by which it does.
    fn imports(&self) -> BTreeMap<(&[String], Vec<String>), String> {
        let mut imports = BTreeMap::new();
        for (name, module) in &self.0 {
            // What is only handed on is no import, and the name of a module says nothing of what is used in it.
            let used = module
                .names
                .iter()
                .filter(|(own, path)| module.words.contains(*own) && !self.0.contains_key(*path));
            for path in used.map(|(_, path)| path).chain(&module.paths) {
                let home = self.home(path, 0);
                if home != *name {
                    imports.entry((name.as_slice(), home)).or_insert_with(|| path.join("::"));
                }
            }
        }
        imports
    }
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).expect("list a folder of src") {
        let path = entry.expect("an entry").path();
        // Files of tests are modules of their own, behind `#[cfg(test)]`.
        let is_test = path.ends_with("tests.rs") || path.ends_with("retention/properties.rs");
        match path.is_dir() {
            true => collect(&path, files),
            false => files
                .extend(Some(path).filter(|path| !is_test && path.extension().is_some_and(|it| it == "rs"))),
        }
    }
}

impl Module {
    fn read(name: &[String], code: &str, all: &BTreeMap<Vec<String>, String>) -> Self {
        let mut module = Self::default();
        let mut rest = String::new();
        for statement in code.split_inclusive(';') {
            let begin = statement.rfind("\nuse ").or_else(|| statement.rfind("\npub use ")).or_else(|| {
                statement.rfind("\npub(crate) use ").or_else(|| statement.rfind("\npub(super) use "))
            });
            let begin = begin.or(Some(0).filter(|_| statement.starts_with("use ")));
            let Some(begin) = begin else {
                rest.push_str(statement);
                continue;
            };
            rest.push_str(&statement[..begin]);
            let tree = statement[begin..].split_once("use ").expect("a use").1.trim_end_matches(';');
            let mut found = Vec::new();
            leaves("", tree, &mut found);
            found.iter().for_each(|leaf| module.import(name, leaf, all));
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        module.words = rest.split(|c| !is_word(c)).map(String::from).collect();
        for path in rest.split(|c| !is_word(c) && c != ':').filter(|path| path.contains("::")) {
            let path = parts(path.trim_end_matches(':'));
            let Some(first) = path.first() else { continue };
            let whole = match module.names.get(first) {
                Some(target) => Some([&target[..], &path[1..]].concat()),
                None => absolute(name, &path, all),
            };
            module.paths.extend(whole);
        }
        module
    }

    fn import(&mut self, name: &[String], leaf: &str, all: &BTreeMap<Vec<String>, String>) {
        let (path, alias) = leaf.split_once(" as ").unwrap_or((leaf, ""));
        let Some(mut path) = absolute(name, &parts(path), all) else { return };
        match path.last().map(String::as_str) {
            Some("*") => {
                path.pop();
                self.paths.push(path.clone());
                return self.globs.push(path);
            }
            Some("self") => drop(path.pop()),
            _ => {}
        }
        let own =
            if alias.is_empty() { path.last().cloned().unwrap_or_default() } else { alias.trim().to_owned() };
        self.names.insert(own, path);
    }
}

/// A path from the crate's root, if it is one of the crate's own.
fn absolute(name: &[String], path: &[String], all: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let first = path.first()?.as_str();
    let mut at = name.to_vec();
    match first {
        "crate" => Some(path[1..].to_vec()),
        "super" | "self" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            at.truncate(at.len().checked_sub(ups)?);
            let rest = path.iter().skip_while(|part| *part == "super" || *part == "self");
            Some(at.into_iter().chain(rest.cloned()).collect())
        }
        _ => {
            at.push(first.to_owned());
            all.contains_key(&at).then(|| [name, path].concat())
        }
    }
}

fn layer(module: &[String]) -> usize {
    let first = module.first().map_or("", String::as_str);
    let found = LAYERS.iter().position(|layer| layer.contains(&first));
    found.unwrap_or_else(|| panic!("src/{first} is in no layer"))
}

fn tree() -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn no_file_imports_from_a_layer_above_it() {
    let tree = tree();
    for ((from, to), path) in tree.imports() {
        assert!(layer(from) >= layer(&to), "{} imports {path} from above", from.join("/"));
    }
}

#[test]
fn no_two_folders_of_a_layer_import_each_other() {
    let tree = tree();
    let imports = tree.imports();
    let folders: BTreeSet<(&str, &str)> = imports
        .keys()
        .filter(|(from, to)| layer(from) == layer(to))
        .filter_map(|(from, to)| Some((from.first()?.as_str(), to.first()?.as_str())))
        .filter(|(from, to)| from != to)
        .collect();
    for (from, to) in &folders {
        assert!(!folders.contains(&(*to, *from)), "{from} and {to} import each other");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let tree = tree();
    let imports = tree.imports();
    let reached_from = |start: &[String]| {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![start.to_vec()]);
        while let Some(at) = todo.pop() {
            let next = imports.keys().filter(|(from, _)| *from == at).map(|(_, to)| to.clone());
            todo.extend(next.filter(|to| reached.insert(to.clone())));
        }
        reached
    };
    let tied = |(from, to): &(&[String], Vec<String>)| reached_from(to).contains(*from);
    let circles = imports.iter().filter(|(import, _)| tied(import));
    let circles: Vec<String> = circles
        .map(|((from, to), path)| format!("{} -> {} by {path}", from.join("/"), to.join("/")))
        .collect();
    assert!(circles.is_empty(), "these files import each other:\n{}", circles.join("\n"));
}

#[test]
fn no_folder_has_more_entries_than_a_reader_takes_in() {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = todo.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(entries.len() <= 16, "{} has {} entries", folder.display(), entries.len());
        todo.extend(entries.into_iter().filter(|path| path.is_dir()));
    }
}

#[test]
fn no_file_is_longer_than_a_reader_takes_in() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", file.display());
    }
}

#[test]
fn every_file_is_a_module() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    for file in
        files.iter().filter(|file| !file.starts_with(src.join("bin")) && !file.ends_with("src/lib.rs"))
    {
        let place = if file.ends_with("mod.rs") { file.parent().expect("a folder") } else { file };
        let (folder, name) = (place.parent().expect("a folder"), place.file_stem().expect("a name"));
        let parent = folder.join(if folder == src { "lib.rs" } else { "mod.rs" });
        let parent = fs::read_to_string(parent).expect("read a module");
        assert!(parent.contains(&format!("mod {};", name.display())), "{} is no module", file.display());
    }
}
