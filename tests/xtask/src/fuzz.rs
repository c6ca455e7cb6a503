//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, on the stable compiler.
//!
//! Coverage is a pass of LLVM that stable `rustc` takes as `-C passes`. Cargo calls this program in place of the
//! compiler (`RUSTC_WORKSPACE_WRAPPER`, see [`compile`]), for the workspace's own packages alone: all others are those
//! that every other build uses, so that nothing big is compiled twice. What may go wrong: libFuzzer is C++, and a
//! machine may have no compiler for it. Then that is said, and the kept inputs are run as a test all the same.

use crate::workspace::{Workspace, say, works};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Inputs that each target gets in CI, the kept ones included: by number and not by time, and from one seed, so that a
/// run does the same everywhere.
const RUNS: u32 = 5_000;

/// The longest input that is made, in bytes; most bugs of parsers need far fewer.
const MAX_INPUT_BYTES: u32 = 4096;

/// A single input that takes longer has found something, in seconds.
const TIMEOUT_SECONDS: u32 = 20;

/// Packages whose branches are counted.
const COUNTED: [&str; 4] = ["chaperone", "chaperone_core", "chaperone_hooks", "chaperone_fuzz"];

/// What counts them: the flags of cargo-fuzz, which are those of clang's `-fsanitize=fuzzer`; with every check of the dev
/// profile. Not optimised: compiling the host so takes longer than a short run wins by it.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// What is asked for.
enum Wanted {
    /// Every target, by number of inputs.
    All,
    /// One target for so many seconds; 0 is until it is stopped.
    One { name: String, seconds: u64 },
    /// One input again.
    Again { name: String, input: PathBuf },
    /// Of what was found so far, keep what reaches something new.
    Keep { name: String },
}

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let wanted = wanted(arguments)?;
    if !has_compiler() {
        say("left out", "fuzzing: libFuzzer needs a C++ compiler, and there is none (Debian: g++)");
        return Ok(ExitCode::SUCCESS);
    }
    let fuzzer = Fuzzer::build(workspace)?;
    match wanted {
        Wanted::All => fuzzer.all(),
        Wanted::One { name, seconds } => fuzzer.one(&name, seconds),
        Wanted::Again { name, input } => {
            let input = std::path::absolute(input)?;
            let status = fuzzer.command(&name)?.arg(input).status()?;
            say(&name, if status.success() { "it holds" } else { "it fails" });
            Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Wanted::Keep { name } => fuzzer.keep(&name),
    }
}

fn wanted(arguments: &[String]) -> Result<Wanted> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        [] => Wanted::All,
        [name, "--seconds", seconds] => Wanted::One {
            name: (*name).into(),
            seconds: seconds.parse().context("--seconds takes a number")?,
        },
        [name, "--keep"] => Wanted::Keep { name: (*name).into() },
        [name] if !name.starts_with('-') => Wanted::One { name: (*name).into(), seconds: 60 },
        [name, input] if !input.starts_with('-') => {
            Wanted::Again { name: (*name).into(), input: (*input).into() }
        }
        _ => bail!("usage: cargo xtask fuzz [NAME [--seconds N | --keep | INPUT]]"),
    })
}

/// Whether libFuzzer can be compiled here, as the crate `cc` looks for it.
pub(crate) fn has_compiler() -> bool {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    works(Command::new(compiler).arg("--version"))
}

/// Cargo calls a wrapper with the compiler as its first argument; no command of ours looks like that.
pub(crate) fn is_compiler(argument: &str) -> bool {
    Path::new(argument).file_stem().is_some_and(|name| name == "rustc")
}

/// In place of the compiler: the same call, with [`FLAGS`] for the libraries in [`COUNTED`].
pub(crate) fn compile(rustc: &str, arguments: &[String]) -> Result<ExitCode> {
    let mut command = Command::new(rustc);
    command.args(arguments);
    if is_counted(arguments) {
        command.args(FLAGS);
    }
    let status = command.status().context("cannot run the compiler")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Libraries alone: a build script or a program without libFuzzer would lack what the counters are reported to.
fn is_counted(arguments: &[String]) -> bool {
    let follows = |name: &str, wanted: &dyn Fn(&str) -> bool| {
        let mut pairs = arguments.iter().zip(arguments.iter().skip(1));
        pairs.any(|(at, value)| at == name && wanted(value))
    };
    follows("--crate-name", &|name| COUNTED.contains(&name)) && follows("--crate-type", &|kind| kind == "lib")
}

/// The built program, and its folders.
struct Fuzzer {
    program: PathBuf,
    /// The kept inputs, a folder for each target.
    corpus: PathBuf,
    /// What is found, beside the build.
    found: PathBuf,
    dictionary: PathBuf,
}

impl Fuzzer {
    fn build(workspace: &Workspace) -> Result<Self> {
        let start = Instant::now();
        // Features are settled for the whole workspace, as in `cargo xtask test`: with others, dependencies would be
        // compiled again.
        let mut cargo = workspace.cargo(["test", "--no-run", "--quiet", "--workspace", "--test", "fuzz"]);
        cargo.args(["--features", "chaperone-fuzz/libfuzzer"]);
        cargo.args(["--message-format", "json-render-diagnostics"]);
        cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace.this_program());
        let built = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !built.status.success() {
            bail!("the fuzz targets could not be built");
        }
        let program = executable(&String::from_utf8_lossy(&built.stdout))
            .context("cargo does not say where it put the fuzz targets")?;
        say("build", format!("{:.1} s", start.elapsed().as_secs_f64()));
        let folder = workspace.root.join("tests/fuzz");
        let found = workspace.programs.with_file_name("fuzz");
        Ok(Fuzzer {
            program,
            corpus: folder.join("corpus"),
            found,
            dictionary: folder.join("dictionary.txt"),
        })
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = std::fs::read_dir(&self.corpus)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn command(&self, name: &str) -> Result<Command> {
        if !self.corpus.join(name).is_dir() {
            bail!("no target `{name}`; there are {}", self.names()?.join(", "));
        }
        std::fs::create_dir_all(&self.found)?;
        let mut command = Command::new(&self.program);
        command
            .env("CHAPERONE_FUZZ_TARGET", name)
            .arg(format!("-dict={}", self.dictionary.display()))
            .arg(format!("-artifact_prefix={}/{name}-", self.found.display()))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            .arg(format!("-timeout={TIMEOUT_SECONDS}"));
        Ok(command)
    }

    /// Every target on the kept inputs and on what it makes of them. What it finds new is not kept.
    fn all(&self) -> Result<ExitCode> {
        let start = Instant::now();
        let mut failed = Vec::new();
        let names = self.names()?;
        for name in &names {
            let began = Instant::now();
            let mut command = self.command(name)?;
            command.args(["-seed=1", "-verbosity=1", "-print_final_stats=1"]).arg(format!("-runs={RUNS}"));
            // New inputs go into the first folder: an empty one, so that the next run does the same.
            let scratch = self.found.join(format!("{name}-scratch"));
            let _ = std::fs::remove_dir_all(&scratch);
            std::fs::create_dir_all(&scratch)?;
            let ran = command.arg(&scratch).arg(self.corpus.join(name)).output();
            let ran = ran.context("cannot run the fuzz targets")?;
            std::fs::remove_dir_all(&scratch)?;
            let said = String::from_utf8_lossy(&ran.stderr);
            let seconds = began.elapsed().as_secs_f64();
            if ran.status.success() {
                say(name, format!("{} in {seconds:.1} s", reached(&said)));
            } else {
                eprintln!("{said}");
                self.tell(name, &said);
                failed.push(name.as_str());
            }
        }
        say("fuzz", format!("{} targets in {:.0} s", names.len(), start.elapsed().as_secs_f64()));
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// One target, on what was found before too; its own progress is shown.
    fn one(&self, name: &str, seconds: u64) -> Result<ExitCode> {
        let mut command = self.command(name)?;
        let work = self.found.join(name);
        std::fs::create_dir_all(&work)?;
        say(name, format!("new inputs go to {}", work.display()));
        command
            .arg(format!("-max_total_time={seconds}"))
            .args(["-print_final_stats=1", "-use_value_profile=1"]);
        let status = command.arg(&work).arg(self.corpus.join(name)).status()?;
        if status.success() {
            say(name, format!("nothing found; `cargo xtask fuzz {name} --keep` keeps what reaches more"));
            return Ok(ExitCode::SUCCESS);
        }
        say(name, format!("FAILED: what failed is above and in {}", self.found.display()));
        say("repeat", format!("cargo xtask fuzz {name} FILE"));
        Ok(ExitCode::FAILURE)
    }

    /// The smallest inputs that reach what all reach, in place of the kept ones.
    fn keep(&self, name: &str) -> Result<ExitCode> {
        let kept = self.corpus.join(name);
        let (work, smaller) = (self.found.join(name), self.found.join(format!("{name}-kept")));
        if smaller.exists() {
            std::fs::remove_dir_all(&smaller)?;
        }
        std::fs::create_dir_all(&smaller)?;
        std::fs::create_dir_all(&work)?;
        let mut command = self.command(name)?;
        let status = command.arg("-merge=1").args([&smaller, &kept, &work]).status()?;
        if !status.success() {
            bail!("libFuzzer could not merge the inputs of {name}");
        }
        let count = std::fs::read_dir(&smaller)?.count();
        std::fs::remove_dir_all(&kept)?;
        std::fs::create_dir_all(&kept)?;
        for file in std::fs::read_dir(&smaller)? {
            let file = file?;
            std::fs::copy(file.path(), kept.join(file.file_name()))?;
        }
        say(name, format!("{count} inputs are kept"));
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, name: &str, said: &str) {
        let input = said.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, at)| at));
        say(name, "FAILED");
        if let Some(input) = input {
            say("the input", input);
            say("repeat", format!("cargo xtask fuzz {name} {input}"));
        }
    }
}

/// Where cargo put the program that it built, from its messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let of_fuzz = messages.lines().filter(|line| line.contains("\"name\":\"fuzz\""));
    let mut paths = of_fuzz.filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next());
    let path = paths.next_back()?;
    Some(PathBuf::from(path))
}

/// libFuzzer's last line of progress, in short: inputs, and branches that they reached.
fn reached(said: &str) -> String {
    let done = said.lines().rev().find(|line| line.contains("DONE") || line.contains(" cov: "));
    let words: Vec<&str> = done.unwrap_or_default().split_whitespace().collect();
    let after = |name: &str| {
        words
            .iter()
            .zip(words.iter().skip(1))
            .find(|(word, _)| **word == name)
            .map_or("?", |(_, value)| value)
    };
    let runs = words.first().map_or("?", |first| first.trim_start_matches('#'));
    format!("{runs} inputs, {} branches", after("cov:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_our_libraries_are_counted() {
        assert!(is_counted(&words("--crate-name chaperone --edition=2024 src/lib.rs --crate-type lib")));
        for other in [
            "--crate-name build_script_build --crate-type bin",
            "--crate-name chaperone --crate-type bin",
            "--crate-name wasmtime --crate-type lib",
            "-vV",
        ] {
            assert!(!is_counted(&words(other)), "{other}");
        }
    }

    #[test]
    fn a_command_is_never_taken_for_a_compiler() {
        assert!(is_compiler("rustc") && is_compiler("/toolchain/bin/rustc"));
        assert!(!is_compiler("fuzz") && !is_compiler("test") && !is_compiler("rustc-wrapper"));
    }

    #[test]
    fn the_last_line_of_progress_is_told() {
        let said =
            "#2\tINITED cov: 5 ft: 6\n#1000\tDONE   cov: 420 ft: 900 corp: 9/1Kb exec/s: 0 rss: 40Mb\nend";
        assert_eq!(reached(said), "1000 inputs, 420 branches");
    }

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let messages = "{\"target\":{\"name\":\"other\"},\"executable\":null}\n\
            {\"target\":{\"kind\":[\"test\"],\"name\":\"fuzz\"},\"executable\":\"/t/deps/fuzz-1\",\"fresh\":false}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/deps/fuzz-1")));
    }
}
