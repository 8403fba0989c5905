//! The reference plugins in one executable: called by a plugin's name it is that plugin.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
The CNI reference plugins in one executable. Called by a plugin's name, it is that plugin.

    cni-plugins list           the plugins, with what they do
    cni-plugins install DIR    puts this executable into DIR under the name of each plugin
    cni-plugins help           this text
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().map(PathBuf::from).unwrap_or_default();
    let name = called.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if cni_plugins::NAMES.contains(&name) {
        return cni_plugins::main(name);
    }
    let arguments: Vec<OsString> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let (text, status) = match words[..] {
        ["list"] => (list(), 0),
        ["help" | "--help" | "-h"] => (USAGE.to_owned(), 0),
        ["install", _] => match install(Path::new(&arguments[1])) {
            Ok(()) => (String::new(), 0),
            Err(error) => {
                return complain(&format!("cannot install into {}: {error}\n", arguments[1].display()), 1);
            }
        },
        _ => return complain(USAGE, 2),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(status),
        Err(_) => ExitCode::from(1),
    }
}

fn complain(text: &str, status: u8) -> ExitCode {
    // Without standard error the exit status has to do.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(status)
}

fn list() -> String {
    let lines = cni_plugins::NAMES
        .iter()
        .map(|name| format!("{name}: {}\n", cni_plugins::doc(name).unwrap_or_default()));
    lines.collect()
}

/// Copies this executable once and links the other names to the copy; where links are impossible, copies again.
/// Each name appears complete or not at all, and what was there before is replaced.
fn install(directory: &Path) -> io::Result<()> {
    let source = std::env::current_exe()?;
    std::fs::create_dir_all(directory)?;
    let new = directory.join(format!(".cni-plugins.{}", std::process::id()));
    let mut first: Option<PathBuf> = None;
    for name in cni_plugins::NAMES {
        let target = directory.join(name);
        let linked = first.as_ref().is_some_and(|first| std::fs::hard_link(first, &new).is_ok());
        if !linked {
            std::fs::copy(&source, &new)?;
        }
        std::fs::rename(&new, &target)?;
        first.get_or_insert(target);
    }
    Ok(())
}
