//! Which kernel modules go along, in which order they load, and the index files that `modprobe` reads.
//!
//! Owns: names, dependencies and aliases as the modules state them (`.modinfo`), the closure over them, the text of
//! `modules.dep` and `modules.alias`. Must not know: where the package was unpacked, which modules a Mac needs.
//!
//! Debian's package has no `modules.dep`: it is made on the machine where the package is installed.

use std::collections::{BTreeMap, BTreeSet};

use crate::media::elf::{BadElf, Elf};

/// Name of a module as the kernel has it: `-` and `_` are one, written `_`.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// All modules of a kernel package by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Canonical name → path below `lib/modules/RELEASE`.
    pub paths: BTreeMap<String, String>,
    /// Canonical names of what is built into the kernel.
    pub builtin: BTreeSet<String>,
}

impl Catalogue {
    /// From the paths of the package (`kernel/drivers/net/tg3.ko`) and its `modules.builtin`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, builtin: &str) -> Catalogue {
        let named = |path: &'a str| Some((canonical(stem(path)?), path.to_owned()));
        Catalogue {
            paths: paths.into_iter().filter_map(named).collect(),
            builtin: builtin.lines().filter_map(stem).map(canonical).collect(),
        }
    }
}

fn stem(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.strip_suffix(".ko")
}

/// What one module says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Modules that must be loaded before it.
    pub depends: Vec<String>,
    /// Modules that it works better with (`softdep`).
    pub softly: Vec<String>,
    /// Patterns of the devices that it drives.
    pub aliases: Vec<String>,
    /// Firmware that it may ask for, below `lib/firmware`.
    pub firmware: Vec<String>,
}

impl Module {
    /// Reads `.modinfo` of a `.ko` file.
    ///
    /// # Errors
    /// [`BadElf`]: not a module for x86-64.
    pub fn read(file: &[u8]) -> Result<Module, BadElf> {
        let mut module = Module::default();
        for (key, value) in Elf::read(file)?.module_info() {
            match key {
                "depends" => {
                    module.depends = value.split(',').filter(|n| !n.is_empty()).map(canonical).collect()
                }
                "softdep" => {
                    let names = value.split_whitespace().filter(|word| !word.ends_with(':'));
                    module.softly.extend(names.map(canonical));
                }
                "alias" => module.aliases.push(value.to_owned()),
                "firmware" => module.firmware.push(value.to_owned()),
                _ => {}
            }
        }
        Ok(module)
    }
}

/// The modules that go along.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Canonical name → what it says.
    pub modules: BTreeMap<String, Module>,
    /// Asked for, and neither a module nor built in.
    pub absent: Vec<String>,
}

/// Why a selection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SelectError<E> {
    /// A module needs one that the package does not have.
    #[error("kernel module {module} depends on {missing}, which the kernel package does not have")]
    Missing {
        /// Who needs it.
        module: String,
        /// What is needed.
        missing: String,
    },
    /// A module could not be read.
    #[error("kernel module {module}")]
    Read {
        /// Which.
        module: String,
        /// Why.
        #[source]
        source: E,
    },
}

impl Selection {
    /// `wanted` and everything that they depend on. `read` gives the module at a path of the catalogue.
    ///
    /// # Errors
    /// [`SelectError`]
    pub fn make<E>(
        wanted: &[&str],
        catalogue: &Catalogue,
        mut read: impl FnMut(&str) -> Result<Module, E>,
    ) -> Result<Selection, SelectError<E>> {
        let mut selection = Selection::default();
        let mut open: Vec<(String, Option<String>)> =
            wanted.iter().rev().map(|name| (canonical(name), None)).collect();
        while let Some((name, needed_by)) = open.pop() {
            if selection.modules.contains_key(&name) || catalogue.builtin.contains(&name) {
                continue;
            }
            let Some(path) = catalogue.paths.get(&name) else {
                match needed_by {
                    Some(module) => return Err(SelectError::Missing { module, missing: name }),
                    None => selection.absent.push(name),
                }
                continue;
            };
            let module = read(path).map_err(|source| SelectError::Read { module: name.clone(), source })?;
            open.extend(module.depends.iter().map(|needed| (needed.clone(), Some(name.clone()))));
            let present = |soft: &&String| catalogue.paths.contains_key(*soft);
            open.extend(module.softly.iter().filter(present).map(|soft| (soft.clone(), None)));
            selection.modules.insert(name, module);
        }
        Ok(selection)
    }

    /// Everything that `name` needs, in the order of `modules.dep`: what is loaded last comes first.
    fn before<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        fn visit<'a>(selection: &'a Selection, name: &'a str, loaded: &mut Vec<&'a str>) {
            if loaded.contains(&name) {
                return;
            }
            let Some(module) = selection.modules.get(name) else { return };
            // A module cannot depend on itself: the kernel's build (modpost) refuses cycles. Should a damaged one,
            // it stands in the list before its turn and the walk still ends.
            let place = loaded.len();
            loaded.push(name);
            for needed in &module.depends {
                visit(selection, needed, loaded);
            }
            loaded.remove(place);
            loaded.push(name);
        }
        let mut loaded = Vec::new();
        visit(self, name, &mut loaded);
        loaded.pop();
        loaded.reverse();
        loaded
    }

    /// Text of `modules.dep`.
    pub fn dep(&self, catalogue: &Catalogue) -> String {
        let mut text = String::new();
        for name in self.modules.keys() {
            let paths = |name: &str| catalogue.paths.get(name).map_or("", String::as_str);
            text.push_str(paths(name));
            text.push(':');
            for needed in self.before(name) {
                text.push(' ');
                text.push_str(paths(needed));
            }
            text.push('\n');
        }
        text
    }

    /// Text of `modules.alias`.
    pub fn alias(&self) -> String {
        let lines = self.modules.iter().flat_map(|(name, module)| {
            module.aliases.iter().map(move |alias| format!("alias {alias} {name}\n"))
        });
        lines.collect()
    }

    /// Firmware that the modules may ask for, each file once.
    pub fn firmware(&self) -> BTreeSet<&str> {
        self.modules.values().flat_map(|module| module.firmware.iter().map(String::as_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::media::elf::tests::elf;

    fn catalogue() -> Catalogue {
        Catalogue::new(
            [
                "kernel/net/tg3.ko",
                "kernel/lib/libphy.ko",
                "kernel/lib/mdio-bus.ko",
                "kernel/fs/vfat.ko",
                "kernel/x.ko",
            ],
            "kernel/lib/crc32.ko\nkernel/drivers/video/fb-sys.ko\n",
        )
    }

    fn module(path: &str) -> Result<Module, Infallible> {
        let depends: &[&str] = match path {
            "kernel/net/tg3.ko" => &["libphy", "crc32"],
            "kernel/lib/libphy.ko" => &["mdio_bus"],
            "kernel/x.ko" => &["nowhere"],
            _ => &[],
        };
        Ok(Module { depends: depends.iter().map(|name| (*name).to_owned()).collect(), ..Module::default() })
    }

    #[test]
    fn a_module_brings_what_it_depends_on_and_skips_what_is_built_in() {
        let catalogue = catalogue();
        let selection = Selection::make(&["tg3"], &catalogue, module).unwrap();
        assert_eq!(
            selection.dep(&catalogue),
            "kernel/lib/libphy.ko: kernel/lib/mdio-bus.ko\n\
             kernel/lib/mdio-bus.ko:\n\
             kernel/net/tg3.ko: kernel/lib/libphy.ko kernel/lib/mdio-bus.ko\n"
        );
    }

    #[test]
    fn what_is_asked_for_and_absent_is_told_unless_it_is_built_in() {
        let selection = Selection::make(&["fb-sys", "simpledrm", "vfat"], &catalogue(), module).unwrap();
        assert_eq!(selection.absent, ["simpledrm"]);
        assert_eq!(selection.modules.keys().collect::<Vec<_>>(), ["vfat"]);
    }

    #[test]
    fn a_dependency_that_the_package_lacks_is_an_error_that_names_both() {
        let error = Selection::make(&["x"], &catalogue(), module).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("x depends on nowhere"), "{text}");
    }

    #[test]
    fn modules_that_depend_on_each_other_end_the_walk() {
        let catalogue = Catalogue::new(["kernel/a.ko", "kernel/b.ko"], "");
        let read = |path: &str| -> Result<Module, Infallible> {
            let other = if path == "kernel/a.ko" { "b" } else { "a" };
            Ok(Module { depends: vec![other.to_owned()], ..Module::default() })
        };
        let selection = Selection::make(&["a"], &catalogue, read).unwrap();
        assert!(selection.dep(&catalogue).starts_with("kernel/a.ko: kernel/b.ko\n"));
    }

    #[test]
    fn a_module_states_its_devices_and_firmware() {
        let info =
            b"alias=pci:v1d2*\0alias=fs-x\0firmware=tigon/tg3.bin\0depends=a-b,c\0softdep=pre: d post: e\0";
        let module = Module::read(&elf(&[(".modinfo", info)])).unwrap();
        assert_eq!(module.depends, ["a_b", "c"]);
        assert_eq!(module.softly, ["d", "e"]);
        assert_eq!(module.firmware, ["tigon/tg3.bin"]);
        let mut selection = Selection::default();
        selection.modules.insert("tg3".to_owned(), module);
        assert_eq!(selection.alias(), "alias pci:v1d2* tg3\nalias fs-x tg3\n");
    }
}
