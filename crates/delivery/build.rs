//! Checks every connector's manifest and lists them, so that a wrong one stops the build and a new one needs no Rust.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the library uses the rest")]
#[path = "src/connectors/manifest.rs"]
mod manifest;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=connectors");
    println!("cargo::rerun-if-changed=src/connectors/manifest.rs");
    println!("cargo::rerun-if-changed=src/connectors/manifest");
    let mut files = Vec::new();
    for entry in std::fs::read_dir("connectors")? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut list = String::from("&[\n");
    for path in files {
        let at = |error: String| format!("{}: {error}", path.display());
        let manifest = manifest::Manifest::parse(&std::fs::read_to_string(&path)?).map_err(at)?;
        let id = &manifest.meta.id;
        if path.file_stem().is_none_or(|stem| stem != id.as_str()) {
            return Err(at(format!("meta.id is {id}")).into());
        }
        if !Path::new("connectors/samples").join(format!("{id}.json")).exists() {
            return Err(at(format!("its sample connectors/samples/{id}.json is missing")).into());
        }
        let full = std::fs::canonicalize(&path)?;
        writeln!(list, "    include_str!({:?}),", full.display().to_string())?;
    }
    list.push(']');
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("manifests.rs"), list)?;
    Ok(())
}
