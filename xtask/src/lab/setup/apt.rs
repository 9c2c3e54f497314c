//! The machine's apt, with an own view: lists, sources and archives are in the cache, so nothing needs root and the
//! machine's own configuration stays as it is.
//!
//! The places of the packages are the ones that the machine uses already. Only the release of Debian 12 is too old
//! for the lab (QEMU below 9, Linux below 6.12); there the backports beside it are added to the view.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::version;
use crate::process;
use crate::progress::step;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const NEEDS_BACKPORTS: &str = "bookworm";
const KERNEL_METAPACKAGE: &str = "linux-image-amd64";
const HEADERS_METAPACKAGE: &str = "linux-headers-amd64";
/// Releases of Debian whose kernels the module for Linux guests is built for, oldest first. The last two names are for
/// whatever comes next.
const RELEASES: [&str; 5] = ["bookworm", "trixie", "trixie-backports", "testing", "unstable"];

pub(super) struct Apt {
    folder: PathBuf,
    log: PathBuf,
    /// The release to prefer, where it is not the machine's own.
    prefer: Option<String>,
}

impl Apt {
    /// Makes the view and fetches its lists. `missing` says what it is needed for.
    pub(super) fn open(cache: &Cache, missing: &str) -> Result<Self> {
        Self::open_view(cache, missing, "apt", &[])
    }

    /// The same with other releases of Debian than this machine's: for what is only unpacked, and runs on no machine of ours.
    pub(super) fn open_all_releases(cache: &Cache, missing: &str) -> Result<Self> {
        Self::open_view(cache, missing, "apt-all-releases", &RELEASES)
    }

    fn open_view(cache: &Cache, missing: &str, name: &str, releases: &[&str]) -> Result<Self> {
        let Some(codename) = debian_codename() else {
            bail!("{missing} missing, and this is no Debian, whose packages could supply it")
        };
        for tool in ["apt-get", "dpkg-deb"] {
            process::find(tool)
                .with_context(|| format!("{missing} missing, and there is no {tool} to fetch it"))?;
        }
        let folder = cache.path(name);
        for sub in ["sources.list.d", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let prefer = (codename == NEEDS_BACKPORTS).then(|| format!("{codename}-backports"));
        let apt = Self { folder, log: cache.setup_log(), prefer };
        apt.write_sources(&codename, releases)?;
        step("package lists", "to find the newest packages", || {
            process::run_logged(apt.get().args(["--error-on=any", "update"]), &apt.log)
        })?;
        Ok(apt)
    }

    /// Fetches packages, without what they depend on, into `folder`.
    pub(super) fn download(&self, packages: &[&str], folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut get = self.get();
        process::run_logged(get.current_dir(folder).arg("download").args(packages), &self.log)
    }

    /// Fetches a package, and all that it depends on and the machine lacks; returns the files.
    pub(super) fn download_closure(&self, package: &str) -> Result<Vec<PathBuf>> {
        let archives = self.folder.join("cache/archives");
        for old in deb_files(&archives)? {
            fs::remove_file(old)?;
        }
        let mut get = self.get();
        get.args(["install", "--yes", "--download-only", "--reinstall", "--no-install-recommends", package]);
        process::run_logged(&mut get, &self.log)?;
        deb_files(&archives)
    }

    /// The newest generic kernel's package. (The cloud kernel has neither an AMD IOMMU nor igb.)
    pub(super) fn newest_kernel(&self) -> Result<String> {
        let stanzas = process::output(self.command("apt-cache").args(["show", KERNEL_METAPACKAGE]))?;
        newest_dependency(&stanzas, "linux-image-")
            .with_context(|| format!("{KERNEL_METAPACKAGE} depends on no linux-image-* package"))
    }

    /// Releases of the kernels that there are headers of, one for each version of the metapackage, oldest first.
    pub(super) fn kernels_with_headers(&self) -> Result<Vec<String>> {
        let stanzas = process::output(self.command("apt-cache").args(["show", HEADERS_METAPACKAGE]))?;
        let of_release = |name: &str| name.strip_prefix("linux-headers-").map(str::to_owned);
        Ok(dependencies(&stanzas, "linux-headers-").into_iter().filter_map(of_release).collect())
    }

    /// The packages whose names begin so.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    fn get(&self) -> Command {
        let mut get = self.command("apt-get");
        get.env("DEBIAN_FRONTEND", "noninteractive");
        if let Some(release) = &self.prefer {
            get.args(["-t", release]);
        }
        get
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        for option in [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={folder}/sources.list.d"),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // an image of a container may throw archives away as soon as they are fetched
            "APT::Keep-Downloaded-Packages=true".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Debug::NoLocking=true".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }

    fn write_sources(&self, codename: &str, releases: &[&str]) -> Result<()> {
        let targets = process::output(
            Command::new("apt-get")
                .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
                .env("LC_ALL", "C"),
        )?;
        let signed =
            if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let extra: Vec<&str> = self.prefer.as_deref().into_iter().chain(releases.iter().copied()).collect();
        let sources = sources(&targets, codename, &extra)?;
        let lines =
            sources.iter().map(|(uri, suite)| format!("deb [arch=amd64{signed}] {uri} {suite} main\n"));
        let list = self.folder.join("sources.list.d/pvir.list");
        fs::write(&list, lines.collect::<String>())
            .with_context(|| format!("cannot write {}", list.display()))
    }
}

/// Place and suite of all that the view holds, from the machine's own "place suite" lines.
fn sources(targets: &str, codename: &str, extra: &[&str]) -> Result<BTreeSet<(String, String)>> {
    let mut sources = BTreeSet::new();
    for (uri, suite) in targets.lines().filter_map(|line| line.split_once(' ')) {
        if suite == codename {
            sources.extend(extra.iter().map(|extra| (uri.to_owned(), (*extra).to_owned())));
        }
        if suite.strip_prefix(codename).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            sources.insert((uri.to_owned(), suite.to_owned()));
        }
    }
    if !sources.iter().any(|(_, suite)| suite == codename) {
        bail!("apt's sources name no place for Debian {codename}; help: see /etc/apt/sources.list.d");
    }
    Ok(sources)
}

/// Of all versions in `apt-cache show`, the dependency with this prefix of the newest.
fn newest_dependency(stanzas: &str, prefix: &str) -> Option<String> {
    dependencies(stanzas, prefix).pop().map(str::to_owned)
}

/// Of all versions in `apt-cache show`, the dependency with this prefix, oldest version first.
fn dependencies<'a>(stanzas: &'a str, prefix: &str) -> Vec<&'a str> {
    let of_version = |stanza: &'a str| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let (version, depends) = (field("Version: ")?, field("Depends: ")?);
        let mut names = depends.split([',', '|']).filter_map(|term| term.split_whitespace().next());
        Some((version, names.find(|name| name.starts_with(prefix))?))
    };
    let mut found: Vec<_> = stanzas.split("\n\n").filter_map(of_version).collect();
    found.sort_by(|(one, _), (other, _)| version::compare(one, other));
    found.into_iter().map(|(_, name)| name).collect()
}

fn deb_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "deb")).collect())
}

fn debian_codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let field =
        |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_matches('"'));
    (field("ID=") == Some("debian")).then(|| field("VERSION_CODENAME=")).flatten().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "https://a/debian/ bookworm\nhttps://a/debian/ bookworm-updates\n\
                           https://b/security/ bookworm-security\nhttps://c/ nodistro\n";

    #[test]
    fn backports_are_taken_from_where_the_release_comes_from() {
        let sources = sources(TARGETS, "bookworm", &["bookworm-backports"]).unwrap();
        let expected = [
            ("https://a/debian/", "bookworm"),
            ("https://a/debian/", "bookworm-backports"),
            ("https://a/debian/", "bookworm-updates"),
            ("https://b/security/", "bookworm-security"),
        ];
        assert!(sources.iter().map(|(uri, suite)| (uri.as_str(), suite.as_str())).eq(expected));
    }

    #[test]
    fn sources_without_the_release_are_an_error() {
        assert!(sources("https://c/ nodistro\n", "trixie", &[]).is_err());
    }

    #[test]
    fn the_newest_kernel_is_chosen_by_version_and_not_by_order() {
        let stanzas = "Package: linux-image-amd64\nVersion: 6.1.176-1\nDepends: linux-image-6.1.0-50-amd64 (= 6.1)\n\n\
                       Package: linux-image-amd64\nVersion: 6.12.95-1~bpo12+1\nDepends: linux-image-6.12.95+deb12-amd64\n\n\
                       Package: linux-image-amd64\nVersion: 6.1.99-1\nDepends: linux-image-6.1.0-40-amd64\n";
        assert_eq!(newest_dependency(stanzas, "linux-image-").unwrap(), "linux-image-6.12.95+deb12-amd64");
    }
}
