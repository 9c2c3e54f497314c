//! KVM with our own patches: the part of [`own_modules`](super::own_modules) that only a patched L1 has.
//!
//! KVM's makefiles and trace points name their files by where they lie in a whole source tree, and its modules share a
//! structure with the kernel's headers that the patches change.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Raised when the same sources make other modules.
const RECIPE: u32 = 1;

/// Below the build's folder. The lab's processor has SVM alone, so that Intel's module is built and not loaded.
pub(super) const BUILT: [&str; 3] =
    ["arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko", "arch/x86/kvm/kvm-amd.ko"];

/// For the build's list of folders.
pub(super) const FOLDER: &str = "arch/x86/kvm/";

/// Headers that the patches change, and where the compiler looks for them before those of the kernel's package.
const HEADERS: [(&str, &str); 2] = [
    ("arch/x86/include/asm/kvm_host.h", "include/asm/kvm_host.h"),
    ("include/uapi/linux/kvm.h", "include/linux/kvm.h"),
];

/// What of this file makes other modules of the same source.
pub(super) fn recipe() -> String {
    format!("{RECIPE} {BUILT:?} {HEADERS:?}")
}

/// Copies what is built, and the headers that go with it.
pub(super) fn lay_out(source: &Path, build: &Path) -> Result<()> {
    for folder in ["arch/x86", "virt", "include/asm", "include/linux"] {
        fs::create_dir_all(build.join(folder))?;
    }
    for folder in ["arch/x86/kvm", "virt/kvm"] {
        let from = source.join(folder);
        process::output(Command::new("cp").arg("-r").arg(&from).arg(build.join(folder)))?;
    }
    for (from, to) in HEADERS {
        fs::copy(source.join(from), build.join(to)).with_context(|| format!("cannot copy {from}"))?;
    }
    let makefile = build.join(FOLDER).join("Makefile");
    let rules =
        fs::read_to_string(&makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
    Ok(fs::write(&makefile, moved(&rules, build))?)
}

/// The makefile with the build's folder in place of the source tree, which is the headers' package here.
fn moved(rules: &str, build: &Path) -> String {
    let build = build.display();
    let rules = rules.replace("$(srctree)/", &format!("{build}/"));
    // trace points are found by a path from any folder that is two deep
    format!("{rules}\nccflags-y += -I {build}/arch/x86\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_names_the_builds_folder() {
        let rules = moved("ccflags-y += -I $(srctree)/arch/x86/kvm\n", Path::new("/b"));
        assert_eq!(rules, "ccflags-y += -I /b/arch/x86/kvm\n\nccflags-y += -I /b/arch/x86\n");
    }
}
