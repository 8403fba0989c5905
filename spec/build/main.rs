//! Checks the catalogue and turns it into static data.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

// The library's own names, so that the data can use no others.
#[macro_use]
#[path = "../src/name.rs"]
#[allow(unreachable_pub)]
mod name;
#[path = "../src/known.rs"]
#[allow(dead_code, unreachable_pub)]
mod known;
#[path = "../src/level.rs"]
#[allow(dead_code, unreachable_pub)]
mod level;
#[path = "../src/catalogue/party.rs"]
#[allow(dead_code, unreachable_pub)]
mod party;

mod emit;
mod read;

use known::Version;
use name::UnknownName;

fn main() -> ExitCode {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-changed=requirements");
    println!("cargo::rerun-if-changed=ambiguities.toml");
    match generate(&root, &out.join("catalogue.rs")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in problems {
                println!("cargo::error={problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn generate(root: &Path, out: &Path) -> Result<(), Vec<String>> {
    let catalogue = read::catalogue(root)?;
    fs::write(out, emit::rust(&catalogue)).map_err(|error| vec![format!("{}: {error}", out.display())])
}
