//! Runs a test again in a child process with environment variables, which a test cannot set for itself without unsafe code.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

/// Whether this is the child.
pub(crate) fn is_child() -> bool {
    env::var_os("CONVIZIT_TEST_CHILD").is_some()
}

/// Runs the test of this name in a child process that has these variables, and none that AWS's programs read.
pub(crate) fn run(test: &str, variables: &[(&str, &OsStr)]) {
    assert!(!is_child(), "a child starts no child");
    let mut command = Command::new(env::current_exe().unwrap());
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    let ran = command
        .args([test, "--exact", "--nocapture"])
        .env("CONVIZIT_TEST_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    print!("{said}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "there is no test {test} in this binary");
}
