//! Users of the operating system: who is behind a command.

use rustix::process::getuid;

/// What Linux says of a process that nobody has logged in for, such as in a container.
const NO_LOGIN: u32 = u32::MAX;

/// Whoever runs the command, for the audit log: `os:anna(1001)`, or `os:anna(1001) as root(0)` where it runs with the rights of another.
pub(crate) fn person() -> String {
    let users = users();
    let runs = getuid().as_raw();
    actor(login().unwrap_or(runs), runs, |uid| name_of(&users, uid))
}

fn actor(behind: u32, runs: u32, name: impl Fn(u32) -> Option<String>) -> String {
    let shown = |uid: u32| format!("{}({uid})", name(uid).unwrap_or_else(|| uid.to_string()));
    if behind == runs { format!("os:{}", shown(behind)) } else { format!("os:{} as {}", shown(behind), shown(runs)) }
}

/// Who has logged in: the kernel's word, which sudo and su do not change, or where it has none, sudo's.
fn login() -> Option<u32> {
    let known = |text: &str| text.trim().parse().ok().filter(|uid| *uid != NO_LOGIN);
    let of_kernel = std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| known(&text));
    of_kernel.or_else(|| std::env::var("SUDO_UID").ok().and_then(|text| known(&text)))
}

fn users() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

fn name_of(users: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_a_command_is_named_with_number_and_with_whose_rights_it_runs() {
        let users = "root:x:0:0:root:/root:/bin/bash\nanna:x:1001:1001::/home/anna:/bin/sh\n";
        let said = |behind, runs| actor(behind, runs, |uid| name_of(users, uid));
        assert_eq!(said(0, 0), "os:root(0)");
        assert_eq!(said(1001, 0), "os:anna(1001) as root(0)");
        assert_eq!(said(1001, 998), "os:anna(1001) as 998(998)");
    }
}
