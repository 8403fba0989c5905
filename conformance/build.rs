//! Links the binary at a fixed address where the linker is known to take it.
//!
//! A run executes cnitest thousands of times, as the arenas' agent and as the bundled plugins. Relocating tens of thousands of
//! pointers took a sixth of the processor's time of a run on `static`, and executions cannot share a relocated page.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of_target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_static = of_target("FEATURE").split(',').any(|feature| feature == "crt-static");
    if of_target("OS") == "linux" && of_target("ENV") == "gnu" && !is_static {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
