//! Which file of a crate uses which: by imports, by paths, and by methods called through `self`, which no import shows.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "syn may add kinds of items, which define nothing that is looked for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

/// A module's path within its crate; the root's is empty.
type Module = Vec<String>;

/// One file of a crate, as it was parsed.
struct Source {
    module: Module,
    syntax: syn::File,
}

/// The files of a crate by their paths below `src`, and what each of them uses of the others.
pub(crate) struct Graph {
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads a crate's folder.
    pub(crate) fn of_crate(folder: &Path) -> Self {
        let src = folder.join("src");
        let (mut files, mut folders) = (BTreeMap::new(), vec![src.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
                    files.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        Self::of_files(&files)
    }

    /// Reads sources by their paths below `src`. Tests are no part of it, and neither is what only wires.
    pub(crate) fn of_files(files: &BTreeMap<String, String>) -> Self {
        let is_code = |name: &&String| *name != "main.rs" && !name.ends_with("tests.rs");
        let sources: BTreeMap<&String, Source> = files
            .iter()
            .filter(|(name, _)| is_code(name))
            .map(|(name, text)| (name, Source { module: module_of(name), syntax: syn::parse_file(text).unwrap() }))
            .collect();
        let mut names = Names::default();
        for (file, source) in &sources {
            names.read(file, source);
        }
        let uses = sources
            .iter()
            .map(|(file, source)| {
                let mut uses = Uses { names: &names, module: &source.module, of: None, found: BTreeSet::new() };
                uses.visit_file(&source.syntax);
                uses.found.remove(*file);
                ((*file).clone(), uses.found)
            })
            .collect();
        Self { uses }
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        self.uses.keys()
    }

    /// Returns every use, from file to file.
    pub(crate) fn uses(&self) -> impl Iterator<Item = (&String, &String)> {
        self.uses.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)))
    }

    /// Returns the circles: files each of which is reached from all the others.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&String, BTreeSet<&String>> =
            self.uses.keys().map(|file| (file, self.reached_from(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in reached.iter().filter(|(file, others)| others.contains(*file)) {
            let circle = others.iter().filter(|other| reached[**other].contains(*file));
            circles.insert(circle.map(|file| (*file).clone()).collect::<Vec<_>>());
        }
        circles.into_iter().collect()
    }

    fn reached_from<'a>(&'a self, file: &'a String) -> BTreeSet<&'a String> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
        while let Some(file) = next.pop() {
            next.extend(self.uses[file].iter().filter(|used| reached.insert(*used)));
        }
        reached
    }
}

fn module_of(file: &str) -> Module {
    let mut module: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// What is defined where.
#[derive(Default)]
struct Names {
    /// The file of each module.
    modules: BTreeMap<Module, String>,
    /// The items of each module.
    items: BTreeMap<Module, BTreeSet<String>>,
    /// What a module hands on under a name.
    reexports: BTreeMap<Module, BTreeMap<String, Module>>,
    /// The file of each method, by its type.
    methods: BTreeMap<(String, String), String>,
}

impl Names {
    fn read(&mut self, file: &str, source: &Source) {
        let module = &source.module;
        self.modules.insert(module.clone(), file.to_owned());
        for item in &source.syntax.items {
            match item {
                syn::Item::Use(import) => {
                    for path in paths_of(&import.tree) {
                        let Some(name) = path.last().cloned() else { continue };
                        let path = absolute(module, &path);
                        self.reexports.entry(module.clone()).or_default().insert(name, path);
                    }
                }
                syn::Item::Impl(block) if block.trait_.is_none() => {
                    let Some(of) = type_name(&block.self_ty) else { continue };
                    for item in &block.items {
                        if let syn::ImplItem::Fn(method) = item {
                            let method = method.sig.ident.to_string();
                            self.methods.insert((of.clone(), method), file.to_owned());
                        }
                    }
                }
                other => {
                    if let Some(name) = item_name(other) {
                        self.items.entry(module.clone()).or_default().insert(name);
                    }
                }
            }
        }
    }

    /// Returns the file that defines what a path from the crate's root names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<&String> {
        let known = (0..=path.len()).rev().find(|end| self.modules.contains_key(&path[..*end]))?;
        let (module, rest) = path.split_at(known);
        let file = self.modules.get(module);
        let Some(name) = rest.first() else { return file };
        if self.items.get(module).is_some_and(|items| items.contains(name)) {
            return file;
        }
        let onward = self.reexports.get(module).and_then(|names| names.get(name)).filter(|_| depth < 8)?;
        self.resolve(onward, depth + 1)
    }
}

/// Finds what one file uses.
struct Uses<'a> {
    names: &'a Names,
    module: &'a Module,
    /// The type whose methods are being read.
    of: Option<String>,
    found: BTreeSet<String>,
}

impl Uses<'_> {
    fn add(&mut self, path: &[String]) {
        self.found.extend(self.names.resolve(path, 0).cloned());
    }

    fn add_method(&mut self, method: &syn::Ident) {
        if let Some(of) = &self.of {
            self.found.extend(self.names.methods.get(&(of.clone(), method.to_string())).cloned());
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        // What is handed on is used by whoever takes it.
        if matches!(import.vis, syn::Visibility::Inherited) {
            for path in paths_of(&import.tree) {
                self.add(&absolute(self.module, &path));
            }
        }
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(super)` uses nothing.
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(is_for_tests) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !function.attrs.iter().any(is_for_tests) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.of, type_name(&block.self_ty));
        visit::visit_item_impl(self, block);
        self.of = outer;
    }

    /// `pub(super)` names who may use an item; it uses nothing itself.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        match names.first().map(String::as_str) {
            Some("crate" | "super") => self.add(&absolute(self.module, &names)),
            Some("Self") if path.segments.len() == 2 => self.add_method(&path.segments[1].ident),
            _ => {}
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if matches!(&*call.receiver, syn::Expr::Path(receiver) if receiver.path.is_ident("self")) {
            self.add_method(&call.method);
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let is_test = |path: &syn::Path| path.is_ident("test");
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| is_test(&path))
}

/// Returns all paths that an import names; the last part of each is the name that it brings.
fn paths_of(tree: &syn::UseTree) -> Vec<Vec<String>> {
    match tree {
        syn::UseTree::Path(path) => {
            let mut paths = paths_of(&path.tree);
            for rest in &mut paths {
                rest.insert(0, path.ident.to_string());
            }
            paths
        }
        syn::UseTree::Name(name) if name.ident == "self" => vec![Vec::new()],
        syn::UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        syn::UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        syn::UseTree::Glob(_) => vec![Vec::new()],
        syn::UseTree::Group(group) => group.items.iter().flat_map(paths_of).collect(),
    }
}

/// Returns a path from the crate's root. One that begins with a name may begin with a module beside this one's children.
fn absolute(module: &[String], path: &[String]) -> Module {
    let mut from = module.to_vec();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => (from, rest) = (Vec::new(), &path[1..]),
        Some("self") => rest = &path[1..],
        _ => {
            while let Some(("super", after)) = rest.split_first().map(|(first, after)| (first.as_str(), after)) {
                from.pop();
                rest = after;
            }
        }
    }
    from.extend_from_slice(rest);
    from
}

fn type_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    }
}

fn item_name(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}
