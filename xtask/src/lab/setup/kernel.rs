//! Which kernel L1 runs: the usual one, another of Debian's, or one in files.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::Apt;
use super::cache::Cache;
use super::headers::{self, file_of};
use super::tools::unpack;
use super::version;
use crate::process;
use crate::progress::step;

const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-amd64";
/// Prefixes of what an image's package depends on where it is empty itself (Debian's Linux 6.19 and newer).
const PARTS: [&str; 2] = ["linux-binary-", "linux-modules-"];
/// Where the modules of all releases are, by a package's age.
const TREES: [&str; 2] = ["lib/modules", "usr/lib/modules"];
const IDENTITY: &str = "kernel.json";

/// A kernel for L1, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    /// The newest of the machine's own release of Debian, or of its backports where that is too old.
    #[default]
    Usual,
    /// The newest that Debian has for its stable release.
    Newest,
    /// The newest whose release begins with this.
    Release(String),
    /// A package, or a folder with `boot/vmlinuz-*` and `lib/modules/`.
    File(PathBuf),
}

impl FromStr for Kernel {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_file = text.contains('/') || text.ends_with(".deb") || Path::new(text).exists();
        Ok(match text {
            "usual" => Self::Usual,
            "newest" => Self::Newest,
            _ if is_file => Self::File(text.into()),
            _ => Self::Release(text.to_owned()),
        })
    }
}

impl Kernel {
    /// What tells its folder in the cache from others'.
    pub(super) fn recipe(&self) -> Result<(String, u64)> {
        Ok(match self {
            Self::Usual => ("l1".into(), 0),
            Self::Newest => ("l1-newest".into(), 0),
            Self::Release(release) => (format!("l1-{}", release.replace(['/', ' '], "_")), 0),
            Self::File(path) => {
                let path = std::path::absolute(path)?;
                let metadata =
                    fs::metadata(&path).with_context(|| format!("no kernel {}", path.display()))?;
                let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_millis();
                (format!("l1-file-{}", path.display().to_string().replace('/', "_")), u64::try_from(changed)?)
            }
        })
    }

    /// Unpacks it into `folder`, fetching what is missing, and says what it is.
    pub(super) fn unpack(&self, cache: &Cache, folder: &Path) -> Result<Identity> {
        match self {
            Self::Usual => from_view(cache, View::Own, &|apt| apt.newest_kernel(), folder),
            Self::Newest => from_view(cache, View::All, &|apt| apt.newest_kernel(), folder),
            Self::Release(release) => {
                let newest = &|apt: &Apt| newest_of(&apt.names(PREFIX)?, release);
                // the machine's own release first: its lists are a tenth of the others'
                from_view(cache, View::Own, newest, folder)
                    .or_else(|_| from_view(cache, View::All, newest, folder))
            }
            Self::File(path) if path.is_dir() => {
                let copy = std::process::Command::new("cp")
                    .arg("-a")
                    .args([path.join("boot"), path.join("lib")])
                    .arg(folder)
                    .output()?;
                if !copy.status.success() {
                    bail!("cannot copy {}: {}", path.display(), String::from_utf8_lossy(&copy.stderr));
                }
                Ok(Identity { release: release_in(folder)?, version: String::new(), view: View::Own })
            }
            Self::File(path) => {
                for file in beside(path)? {
                    unpack(&file, folder, &cache.setup_log())?;
                }
                Ok(Identity { release: release_in(folder)?, version: version_of(path)?, view: View::All })
            }
        }
    }
}

/// Which of Debian's releases packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum View {
    /// The machine's own, and the backports that the lab needs.
    Own,
    /// All.
    All,
}

impl View {
    /// Fetches its lists. `missing` says what it is needed for.
    pub(super) fn open(self, cache: &Cache, missing: &str) -> Result<Apt> {
        match self {
            Self::Own => Apt::open(cache, missing),
            Self::All => Apt::open_all_releases(cache, missing),
        }
    }
}

/// What an unpacked kernel is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    /// What `uname -r` says.
    pub(super) release: String,
    /// The version of its package; nothing if it came in a folder.
    pub(super) version: String,
    /// Where its package is, and those that belong to it.
    pub(super) view: View,
}

impl Identity {
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join(IDENTITY), serde_json::to_vec_pretty(self)?)?)
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(IDENTITY);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The first number of its release.
    pub(super) fn major(&self) -> u32 {
        self.release.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

fn from_view(
    cache: &Cache,
    view: View,
    choose: &dyn Fn(&Apt) -> Result<String>,
    folder: &Path,
) -> Result<Identity> {
    let apt = view.open(cache, "a kernel for the lab is")?;
    let image = choose(&apt)?;
    let file = kept(cache, &apt, &image)?;
    unpack(&file, folder, &cache.setup_log())?;
    if vmlinuz(folder).is_err() {
        let depends =
            process::output(std::process::Command::new("dpkg-deb").arg("-f").arg(&file).arg("Depends"))?;
        for part in parts(&depends) {
            unpack(&kept(cache, &apt, part)?, folder, &cache.setup_log())?;
        }
    }
    let identity = Identity { release: release_in(folder)?, version: version_of(&file)?, view };
    // Fetched with it, for there are none of an old kernel. Without them modules cannot be built, and nothing else.
    if let Err(error) = headers::fetch(&apt, &cache.path("debs"), &identity.release) {
        eprintln!("no headers of {}, for modules of our own: {error:#}", identity.release);
    }
    Ok(identity)
}

/// A kernel's package in the cache: it is large, so it is kept although the cached result would do.
fn kept(cache: &Cache, apt: &Apt, name: &str) -> Result<PathBuf> {
    let debs = cache.path("debs");
    if let Some(file) = file_of(&debs, name)? {
        return Ok(file);
    }
    step(name, "the kernel of the lab's machine, about 100 MB in all", || {
        let partial = debs.join("partial");
        apt.download(&[name], &partial)?;
        let file = file_of(&partial, name)?.context("apt-get download left no file")?;
        let kept = debs.join(file.file_name().context("a package without a name")?);
        fs::rename(&file, &kept)?;
        Ok(kept)
    })
}

/// This package, and the one of modules that lies beside it where a kernel is in two.
fn beside(package: &Path) -> Result<Vec<PathBuf>> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let [binary, modules] = PARTS;
    let Some(release) = name.strip_prefix(binary).and_then(|rest| rest.split('_').next()) else {
        return Ok(vec![package.to_owned()]);
    };
    let folder = package.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let modules = format!("{modules}{release}");
    let file = file_of(folder, &modules)?;
    let file =
        file.with_context(|| format!("{name} holds no modules, and there is no {modules} beside it"))?;
    Ok(vec![package.to_owned(), file])
}

fn version_of(package: &Path) -> Result<String> {
    let version =
        process::output(std::process::Command::new("dpkg-deb").arg("-f").arg(package).arg("Version"))?;
    Ok(version.trim().to_owned())
}

/// The packages that hold a kernel, from what its empty package depends on.
fn parts(depends: &str) -> impl Iterator<Item = &str> {
    let names = depends.split([',', '|']).filter_map(|term| term.split_whitespace().next());
    names.filter(|name| PARTS.iter().any(|prefix| name.starts_with(prefix)))
}

/// The newest generic kernel whose release begins with `wanted`.
fn newest_of(packages: &[String], wanted: &str) -> Result<String> {
    let releases = packages.iter().filter_map(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    let wanted = wanted.strip_suffix(SUFFIX).unwrap_or(wanted);
    let fits = releases.filter(|release| {
        // "6.1" is not "6.12"; names such as "6.12-cloud" and "6.12-rt" are other kernels
        release.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            && release.contains('.')
            && !release.contains("-cloud")
            && !release.contains("-rt")
            && release.matches('.').count() >= 2
    });
    let newest = fits.max_by(|left, right| version::compare(left, right));
    newest
        .map(|release| format!("{PREFIX}{release}{SUFFIX}"))
        .with_context(|| format!("Debian has no kernel {wanted}; help: apt-cache pkgnames {PREFIX}"))
}

/// The release of an unpacked kernel.
fn release_in(folder: &Path) -> Result<String> {
    Ok(vmlinuz(folder)?.1)
}

/// The compressed kernel and its release. It is in `boot`, or among its modules where Debian has it in a package of its
/// own.
pub(super) fn vmlinuz(folder: &Path) -> Result<(PathBuf, String)> {
    for entry in fs::read_dir(folder.join("boot")).into_iter().flatten() {
        let entry = entry?;
        if let Some(release) = entry.file_name().to_string_lossy().strip_prefix("vmlinuz-") {
            return Ok((entry.path(), release.to_owned()));
        }
    }
    for trees in TREES {
        for entry in fs::read_dir(folder.join(trees)).into_iter().flatten() {
            let entry = entry?;
            let kernel = entry.path().join("vmlinuz");
            if kernel.is_file() {
                return Ok((kernel, entry.file_name().to_string_lossy().into_owned()));
            }
        }
    }
    bail!("{} holds no vmlinuz, neither in boot nor in lib/modules", folder.display())
}

/// The modules of an unpacked kernel.
pub(super) fn modules(folder: &Path, release: &str) -> Result<PathBuf> {
    let mut trees = TREES.iter().map(|trees| folder.join(trees).join(release));
    trees.find(|place| place.is_dir()).with_context(|| format!("no modules came with {release}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_asked_for_by_name_or_by_file() {
        let of = |text: &str| text.parse::<Kernel>().unwrap();
        assert_eq!(of("newest"), Kernel::Newest);
        assert_eq!(of("usual"), Kernel::Usual);
        assert_eq!(of("6.12.95"), Kernel::Release("6.12.95".into()));
        assert_eq!(of("./linux"), Kernel::File("./linux".into()));
        assert_eq!(of("linux-image-9.deb"), Kernel::File("linux-image-9.deb".into()));
    }

    #[test]
    fn the_newest_release_that_fits_is_taken() {
        let names = [
            "linux-image-6.12-amd64",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.12.95+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-cloud-amd64",
            "linux-image-6.12.118+deb12-rt-amd64",
            "linux-image-6.12.119+deb12-amd64-unsigned",
        ]
        .map(str::to_owned);
        assert_eq!(newest_of(&names, "6.12").unwrap(), "linux-image-6.12.117+deb12-amd64");
        assert_eq!(newest_of(&names, "6.12.95").unwrap(), "linux-image-6.12.95+deb12-amd64");
        assert_eq!(newest_of(&names, "6.1").unwrap(), "linux-image-6.1.0-57-amd64");
        assert_eq!(newest_of(&names, "6.1.0-57-amd64").unwrap(), "linux-image-6.1.0-57-amd64");
        assert!(newest_of(&names, "6.12.9").is_err());
    }

    #[test]
    fn an_empty_package_names_those_that_hold_the_kernel() {
        let depends = "dracut | initramfs-tools (>= 0.120), linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                       linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-amd64 (= 7.3.4)";
        let parts: Vec<&str> = parts(depends).collect();
        assert_eq!(parts, ["linux-binary-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"]);
    }
}
