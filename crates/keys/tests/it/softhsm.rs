//! A SoftHSM token of a test's own; SoftHSM finds its folder by an environment variable.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use super::child;

/// The user's PIN of the token.
pub(crate) const PIN: &str = "271828";
/// Label of the token.
pub(crate) const TOKEN: &str = "convizit test";

/// Runs a test again in a child process that has a new token; there, calls `work` with the token's folder.
pub(crate) fn in_child(test: &str, work: impl FnOnce(PathBuf)) {
    if child::is_child() {
        return work(env::var_os("CONVIZIT_TEST_TOKEN").unwrap().into());
    }
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("softhsm2.conf");
    let tokens = folder.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
    let made = Command::new("softhsm2-util")
        .env("SOFTHSM2_CONF", &conf)
        .args(["--init-token", "--free", "--label", TOKEN, "--so-pin", "31415926", "--pin", PIN])
        .output()
        .expect("softhsm2-util is missing: install the Debian package softhsm2");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let variables = [("SOFTHSM2_CONF", conf.as_os_str()), ("CONVIZIT_TEST_TOKEN", folder.path().as_os_str())];
    child::run(test, &variables);
}

/// Path of SoftHSM's module.
pub(crate) fn module() -> PathBuf {
    let folders = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"];
    let found = folders.iter().map(|folder| PathBuf::from(folder).join("libsofthsm2.so")).find(|path| path.exists());
    found.expect("libsofthsm2.so is missing: install the Debian package softhsm2")
}
