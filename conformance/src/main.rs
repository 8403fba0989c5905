//! The `cnitest` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // An arena's agent and a bundled plugin are this same executable, called by another name.
    cnitest::arena::agent_entry();
    if let Some((folder, name)) = cnitest::spy::called_as() {
        return cnitest::spy::main(&folder, &name);
    }
    // A mutant of the runtime is this command, which decides otherwise.
    if let Some(mutant) = cnitest::mutants::called_as().filter(|mutant| mutant.policy().is_none()) {
        return mutant.main();
    }
    if let Some((seed, base)) = cnitest::mutants::hostile::called_as() {
        return cnitest::mutants::hostile::main(seed, base);
    }
    if let Some(spied) = cnitest::churn::spy::called_as() {
        return spied.main();
    }
    if let Some(name) = cnitest::suite::subject::called_as() {
        return cni_plugins::main(name);
    }
    cli::main()
}
