//! Modules for L1 that Debian's kernels lack: iommufd, and VFIO with the device's own file. They are built from the
//! source of the very kernel, against its headers, and load into it as it is.

use std::fs::{self, File};
use std::io::BufWriter;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};

use super::cache::Cache;
use super::headers::Headers;
use super::kernel::Identity;
use super::kvm_modules;
use super::l1::Modules;
use super::patches;
use super::source;
use super::tools::Tools;
use crate::lab::image::{self, modules};
use crate::process;
use crate::progress::step;

/// Raised when the same sources make other modules.
const RECIPE: u32 = 1;

/// Loaded by L1 in place of the usual ones.
const LOADED: [&str; 4] = ["kvm-amd", "iommufd", "vfio-pci", "vfio_iommu_type1"];

/// Where the modules lie below the build's folder.
const BUILT: [&str; 5] = [
    "iommu/iommufd/iommufd.ko",
    "vfio/vfio.ko",
    "vfio/vfio_iommu_type1.ko",
    "vfio/pci/vfio-pci-core.ko",
    "vfio/pci/vfio-pci.ko",
];

/// What the kernel's configuration says otherwise, for `make`.
const CONFIGURATION: [&str; 3] = ["CONFIG_IOMMUFD=m", "CONFIG_VFIO_DEVICE_CDEV=y", "CONFIG_VFIO_MDEV="];

/// The same for the compiler, which reads the kernel's own `autoconf.h`.
const DEFINED: &str =
    "KCFLAGS=-DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_VFIO_DEVICE_CDEV=1 -DCONFIG_INTERVAL_TREE_SPAN_ITER=1";

/// The kernel has the interval tree, but not its iterator of spans, which lies in the same file. The file is compiled
/// once more with other names, and exports nothing.
const SPANS: &str = "\
#include <linux/export.h>
#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(symbol)
#define interval_tree_insert lab_interval_tree_insert
#define interval_tree_remove lab_interval_tree_remove
#define interval_tree_iter_first lab_interval_tree_iter_first
#define interval_tree_iter_next lab_interval_tree_iter_next
#define interval_tree_subtree_search lab_interval_tree_subtree_search
#include \"../../lib/interval_tree.c\"
";
const SPANS_RULE: &str = "\niommufd-y += lab_spans.o\nCFLAGS_lab_spans.o := -Wno-missing-prototypes\n";

/// Builds them, or finds them built, for the kernel whose own modules are in the folder `own`. Returns the initramfs of
/// an L1 with them.
pub(super) fn ready(
    cache: &Cache,
    tools: &Tools,
    kernel: &Identity,
    own: &Path,
    which: Modules,
) -> Result<PathBuf> {
    let release = &kernel.release;
    let (kind, patches) = match which {
        Modules::Patched => ("patched", patches::text()? + &kvm_modules::recipe()),
        Modules::Debian | Modules::Iommufd => ("iommufd", String::new()),
    };
    let patched = which == Modules::Patched;
    let how = (BUILT, CONFIGURATION, DEFINED, SPANS, SPANS_RULE, LOADED);
    let recipe = (RECIPE, image::RECIPE, how, &kernel.version, &patches);
    let name = format!("l1-{kind}-{release}");
    let complete = cache.found(&name, recipe);
    if let Some(folder) = complete {
        return Ok(folder.join(BASE));
    }
    let lists = || kernel.view.open(cache, "headers of the lab's kernel are");
    let headers = Headers::ready(cache, release, lists)?;
    let compiler = compiler(&headers)?;
    process::find("make").context("no make to build modules with; help: apt install make")?;
    let source = source::ready(cache, tools, kernel)?;
    let folder = cache.component(&name, recipe, |folder| {
        let build = folder.join("build");
        let what = if patched {
            "iommufd, VFIO and KVM with the patches of docs/kernel"
        } else {
            "five modules that Debian's kernel lacks"
        };
        step(format!("{kind} for {release}"), what, || {
            let tree = folder.join("tree");
            process::output(Command::new("cp").arg("-r").arg(&source).arg(&tree))?;
            if patched {
                patches::apply(&tree)?;
            }
            lay_out(&tree, &build)?;
            if patched {
                kvm_modules::lay_out(&tree, &build)?;
            }
            fs::remove_dir_all(&tree)?;
            fs::write(build.join("Kbuild"), format!("obj-y += {}\n", folders(patched)))?;
            make(&headers, &compiler, &build, &cache.path(&format!("logs/modules-{release}.log")))
        })?;
        let built = folder.join("modules");
        fs::create_dir(&built)?;
        let of_kvm = kvm_modules::BUILT.into_iter().filter(|_| patched);
        for module in BUILT.into_iter().chain(of_kvm) {
            let file = build.join(module);
            let name = file.file_name().context("a module without a name")?;
            fs::rename(&file, built.join(name)).with_context(|| {
                format!("make left no {module}; the log is in {}", cache.path("logs").display())
            })?;
            process::output(Command::new("strip").arg("--strip-debug").arg(built.join(name)))?;
        }
        fs::remove_dir_all(&build)?;
        let names = LOADED.into_iter().chain(modules::SHIPPED);
        let set = modules::Set::collect(names, &[own, &built], tools)?;
        let file = File::create(folder.join(BASE))?;
        image::base::write(BufWriter::new(file), release, &set, &LOADED, &tools.busybox())
    })?;
    Ok(folder.join(BASE))
}

const BASE: &str = "base.cpio";

/// The part of the source that becomes modules, as the kernel's build takes it.
fn lay_out(source: &Path, build: &Path) -> Result<()> {
    for folder in ["iommu", "lib"] {
        fs::create_dir_all(build.join(folder))?;
    }
    let copies = [
        ("drivers/iommu/iommufd", "iommu/iommufd"),
        ("drivers/iommu/iommu-priv.h", "iommu/iommu-priv.h"),
        ("drivers/vfio", "vfio"),
        ("lib/interval_tree.c", "lib/interval_tree.c"),
        ("include", "include"),
    ];
    for (from, to) in copies {
        let from = source.join(from);
        process::output(Command::new("cp").arg("-r").arg(&from).arg(build.join(to)))?;
    }
    let iommufd = build.join("iommu/iommufd");
    fs::write(iommufd.join("lab_spans.c"), SPANS)?;
    let makefile = iommufd.join("Makefile");
    let rules =
        fs::read_to_string(&makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
    Ok(fs::write(&makefile, rules + SPANS_RULE)?)
}

fn make(headers: &Headers, compiler: &Path, build: &Path, log: &Path) -> Result<()> {
    let mut make = Command::new("make");
    let jobs = available_parallelism().map_or(1, NonZero::get);
    make.arg("-C").arg(headers.tree()).arg(format!("-j{jobs}"));
    make.arg(format!("M={}", build.display())).arg(format!("CC={}", compiler.display()));
    make.args(CONFIGURATION).arg(DEFINED);
    // what stands first finds our header of VFIO before that of the kernel
    make.arg(format!("NOSTDINC_FLAGS=-nostdinc -I{}", build.join("include").display()));
    // no key to sign with, and no image of the kernel to take types from
    make.args(["CONFIG_MODULE_SIG_ALL=", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARCH", "CROSS_COMPILE", "KBUILD_OUTPUT"] {
        make.env_remove(name);
    }
    process::run_logged(&mut make, log)
}

/// What make builds.
fn folders(patched: bool) -> String {
    let kvm = if patched { kvm_modules::FOLDER } else { "" };
    format!("iommu/iommufd/ vfio/ {kvm}").trim_end().to_owned()
}

/// The compiler that the kernel was built with: modules of another may not load.
fn compiler(headers: &Headers) -> Result<PathBuf> {
    let name = headers.compiler()?;
    let found = process::find(&format!("x86_64-linux-gnu-{name}")).or_else(|| process::find(&name));
    found.with_context(|| {
        format!("the lab's kernel was built with {name}, which is not here; help: apt install {name}")
    })
}
