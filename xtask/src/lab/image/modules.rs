//! Chooses kernel modules, finds what they depend on, and prepares them for L1.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::setup::Tools;
use crate::process;

/// Loaded by every L1 as it starts.
pub(crate) const LOADED: [&str; 3] = ["kvm-amd", "vfio-pci", "vfio_iommu_type1"];
/// Shipped for commands that want them (`modprobe` in L1), and loaded by none of ours.
pub(crate) const SHIPPED: [&str; 17] = [
    "igb",
    "igbvf",
    "e1000e",
    "nvme",
    "xhci-pci",
    "virtio_net",
    "virtio_blk",
    "virtio-rng",
    "tun",
    "vhost_net",
    "vhost_vsock",
    "msr",
    "uio_pci_generic",
    "pci-pf-stub",
    "9pnet_virtio",
    "bridge",
    "aer_inject",
];

/// The list of what a kernel has built in, in its tree of modules.
const BUILTIN: &str = "modules.builtin";

/// What a Linux guest in L2 can load.
pub(crate) const GUEST: [&str; 4] = ["igb", "e1000e", "nvme", "virtio_net"];

/// Modules by name, unpacked and stripped, and what each depends on.
pub(crate) struct Set {
    modules: BTreeMap<String, Module>,
}

struct Module {
    content: Vec<u8>,
    depends: Vec<String>,
}

impl Set {
    /// Takes the modules, and all that they depend on, out of trees of modules: of two with a name, that of the later
    /// tree.
    pub(crate) fn collect<'a>(
        names: impl IntoIterator<Item = &'a str>,
        trees: &[&Path],
        tools: &Tools,
    ) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut builtin = BTreeSet::new();
        for tree in trees {
            files.extend(index(tree)?);
            let list = fs::read_to_string(tree.join(BUILTIN)).unwrap_or_default();
            builtin.extend(list.lines().filter_map(|line| name_of(Path::new(line))));
        }
        let work = tempfile::tempdir()?;

        let mut modules = BTreeMap::new();
        let mut wanted: Vec<String> = names.into_iter().map(canonical).collect();
        while let Some(name) = wanted.pop() {
            if modules.contains_key(&name) || builtin.contains(&name) {
                continue;
            }
            let file = files.get(&name).with_context(|| format!("the kernel has no module {name}"))?;
            let content = prepare(file, work.path(), tools)?;
            let depends = depends(&content);
            wanted.extend(depends.iter().filter(|name| !builtin.contains(*name)).cloned());
            let depends = depends.into_iter().filter(|name| !builtin.contains(name)).collect();
            modules.insert(name, Module { content, depends });
        }
        Ok(Self { modules })
    }

    /// Name and content of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.modules.iter().map(|(name, module)| (name.as_str(), module.content.as_slice()))
    }

    /// Writes the modules into a folder that is a tree of modules itself.
    pub(crate) fn keep(&self, tree: &Path, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (name, content) in self.iter() {
            fs::write(folder.join(format!("{name}.ko")), content)?;
        }
        if tree.join(BUILTIN).exists() {
            fs::copy(tree.join(BUILTIN), folder.join(BUILTIN))?;
        }
        Ok(())
    }

    /// These modules and what they depend on, dependencies first.
    pub(crate) fn load_order(&self, names: &[&str]) -> Result<Vec<&str>> {
        let mut order = Vec::new();
        for name in names {
            // built in, and so nothing to load, unless it is here
            if let Some((name, _)) = self.modules.get_key_value(&canonical(name)) {
                self.visit(name, &mut order, &mut Vec::new())?;
            }
        }
        Ok(order)
    }

    /// The file by which `modprobe` finds dependencies.
    pub(crate) fn modules_dep(&self) -> Result<String> {
        let mut text = String::new();
        for name in self.modules.keys() {
            let mut order = Vec::new();
            self.visit(name, &mut order, &mut Vec::new())?;
            // nearest first, which is the order that depmod gives them
            let depends = order.iter().rev().skip(1).map(|name| format!(" {name}.ko"));
            text.push_str(&format!("{name}.ko:{}\n", depends.collect::<String>()));
        }
        Ok(text)
    }

    fn visit<'a>(&'a self, name: &'a str, order: &mut Vec<&'a str>, path: &mut Vec<&'a str>) -> Result<()> {
        if order.contains(&name) {
            return Ok(());
        }
        if path.contains(&name) {
            bail!("module {name} depends on itself, by way of {}", path.join(", "));
        }
        path.push(name);
        let module = self.modules.get(name).with_context(|| format!("module {name} is not in the set"))?;
        for dependency in &module.depends {
            self.visit(dependency, order, path)?;
        }
        path.pop();
        order.push(name);
        Ok(())
    }
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name in a path such as `kernel/drivers/vfio/pci/vfio-pci.ko.xz`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    file.split_once(".ko").map(|(name, _)| canonical(name))
}

fn index(tree: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![tree.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Some(name) = name_of(&path) {
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

/// Unpacks a module and strips it of what only a debugger wants (four fifths of it).
fn prepare(file: &Path, work: &Path, tools: &Tools) -> Result<Vec<u8>> {
    let unpacked = work.join("module.ko");
    match file.extension().and_then(OsStr::to_str) {
        Some("ko") => fs::copy(file, &unpacked).map(|_| ())?,
        Some(packing @ ("xz" | "zst")) => {
            let mut unpacker = if packing == "xz" { tools.xz() } else { tools.zstd() };
            let output = unpacker.args(["--decompress", "--stdout"]).arg(file).output()?;
            if !output.status.success() {
                bail!("cannot unpack {}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
            }
            fs::write(&unpacked, output.stdout)?;
        }
        _ => bail!("{} is packed in an unknown way", file.display()),
    }
    process::output(Command::new("strip").arg("--strip-debug").arg(&unpacked))
        .context("cannot strip a module")?;
    fs::read(&unpacked).with_context(|| format!("cannot read {}", unpacked.display()))
}

/// What a module says that it depends on.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(modules: &[(&str, &[&str])]) -> Set {
        let module = |depends: &[&str]| Module {
            content: Vec::new(),
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        };
        Set { modules: modules.iter().map(|(name, list)| ((*name).to_owned(), module(list))).collect() }
    }

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let set = set(&[
            ("kvm_amd", &["ccp", "kvm"]),
            ("ccp", &[]),
            ("kvm", &["irqbypass"]),
            ("irqbypass", &[]),
            ("vfio_pci", &["vfio", "irqbypass"]),
            ("vfio", &[]),
            ("igb", &["vfio"]),
        ]);
        assert_eq!(
            set.load_order(&LOADED).unwrap(),
            ["ccp", "irqbypass", "kvm", "kvm_amd", "vfio", "vfio_pci"]
        );
    }

    #[test]
    fn modules_dep_lists_the_nearest_dependency_first() {
        let set = set(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]);
        assert_eq!(set.modules_dep().unwrap(), "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n");
    }

    #[test]
    fn a_circle_or_a_missing_module_is_an_error() {
        assert!(set(&[("a", &["b"]), ("b", &["a"])]).modules_dep().is_err());
        assert!(set(&[("a", &["b"])]).modules_dep().is_err());
    }

    #[test]
    fn dependencies_are_read_from_the_module_itself() {
        assert_eq!(
            depends(b"...\0license=GPL\0depends=vfio,vfio-pci-core\0name=x\0"),
            ["vfio", "vfio_pci_core"]
        );
        assert!(depends(b"\0license=GPL\0depends=\0").is_empty());
        assert!(depends(b"none").is_empty());
    }

    #[test]
    fn names_are_the_same_with_dash_and_underscore_packed_or_not() {
        assert_eq!(name_of(Path::new("kernel/vfio/vfio-pci.ko.xz")).unwrap(), "vfio_pci");
        assert_eq!(name_of(Path::new("vfio_pci.ko")).unwrap(), "vfio_pci");
        assert_eq!(name_of(Path::new("modules.order")), None);
    }
}
