//! Generated files are what the code generates. `make generate` (that is, `UPDATE_GENERATED=1`)
//! writes them.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares, or writes.
pub fn check(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, expected).unwrap();
        return;
    }
    let actual = fs::read_to_string(path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} is not what the code generates; run `make generate` and commit the result",
        path.display()
    );
}

#[test]
fn generated_custom_resource_definitions() {
    let directories = ["crds", "charts/anon-operator/files/crds"];
    let files = anon_operator::testing::crd::generate::files().unwrap();
    for directory in directories.map(|directory| root().join(directory)) {
        for (name, yaml) in &files {
            check(&directory.join(name), yaml);
        }
        let stale: Vec<PathBuf> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !files.iter().any(|(name, _)| path.ends_with(name)))
            .collect();
        assert!(stale.is_empty(), "nobody generates {stale:?}");
    }
}
