//! The folder that keeps what was fetched and made, shared safely by runs side by side.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

#[derive(Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Held while the cache is being filled.
struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Cache {
    /// `$PVIR_CACHE`, or the user's cache folder.
    pub(crate) fn open() -> Result<Self> {
        let root = folder()?;
        fs::create_dir_all(&root).with_context(|| {
            format!(
                "cannot make the cache folder {}; help: set PVIR_CACHE to one that can be",
                root.display()
            )
        })?;
        Ok(Self { root })
    }

    /// A path below the cache's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The log of everything that fetches and unpacks.
    pub(crate) fn setup_log(&self) -> PathBuf {
        self.path("logs").join("setup.log")
    }

    /// The folder of the component `name` made by `recipe`, if it has been made.
    pub(crate) fn found(&self, name: &str, recipe: impl Hash) -> Option<PathBuf> {
        Some(self.complete(name, recipe)).filter(|folder| folder.is_dir())
    }

    fn complete(&self, name: &str, recipe: impl Hash) -> PathBuf {
        self.path(&format!("{name}-{:016x}", hash(recipe)))
    }

    /// The folder of the component `name` made by `recipe`; `make` fills it if it does not exist yet. It must not ask
    /// for another component.
    pub(crate) fn component(
        &self,
        name: &str,
        recipe: impl Hash,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let complete = self.complete(name, recipe);
        if complete.is_dir() {
            return Ok(complete);
        }
        let _lock = self.lock()?;
        if complete.is_dir() {
            return Ok(complete);
        }
        let unfinished = self.path(&format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        make(&unfinished)?;
        fs::rename(&unfinished, &complete)
            .with_context(|| format!("cannot move {} into place", complete.display()))?;
        Ok(complete)
    }

    fn lock(&self) -> Result<Lock> {
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(Errno::WOULDBLOCK) => {
                eprintln!("waiting for another run that is filling the cache (it holds {})", path.display());
            }
            Err(error) => bail!("cannot lock {}: {error}", path.display()),
        }
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Lock(file))
    }
}

fn folder() -> Result<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("PVIR_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("pvir")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/pvir")))
        .context("no place for the cache; help: set PVIR_CACHE to a folder")?;
    Ok(std::path::absolute(folder)?)
}

fn hash(recipe: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> Cache {
        Cache { root: folder.to_path_buf() }
    }

    #[test]
    fn a_component_is_made_once_and_again_by_another_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let make = |text: &'static str| move |place: &Path| Ok(fs::write(place.join("file"), text)?);
        let first = cache.component("thing", 1, make("first")).unwrap();
        let again = cache.component("thing", 1, make("again")).unwrap();
        let other = cache.component("thing", 2, make("other")).unwrap();
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "first");
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "other");
    }

    #[test]
    fn a_component_that_failed_does_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert!(cache.component("thing", 1, |_| bail!("no")).is_err());
        let made = cache.component("thing", 1, |_| Ok(())).unwrap();
        assert!(made.is_dir());
    }
}
