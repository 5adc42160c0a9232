//! The command line as a person and a script meet it.

use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::destination::StdoutFormat;
use convizit_model::{Destination, DestinationKind};
use convizit_store::{Store, StoreConfig, SystemClock};

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convizit"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("CONVIZIT_DATA")
        .env_remove("CONVIZIT_DATABASE_URL")
        .env_remove("SUDO_UID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn convizit(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(folder, arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = convizit(folder, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = convizit(folder, arguments, "");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.trim().lines().count() == 1, "one sentence: {text}");
    text
}

#[test]
fn projects_settings_destinations_and_notices_are_made_changed_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("convizit.toml"), format!("[delivery]\nallow_folders = [\"{}\"]\n", at.display())).unwrap();
    ok(at, &["migrate"]);
    assert!(ok(at, &["project", "list"]).contains("no project yet"));
    let added = ok(at, &["project", "add", "shop", "--origin", "https://shop.example"]);
    assert!(added.contains("<script>") && added.contains("/t/pk_"), "{added}");
    let noted = convizit(at, &["project", "snippet", "shop"], "");
    assert!(String::from_utf8_lossy(&noted.stderr).contains("set collector.public"), "visitors reach no 127.0.0.1");
    let told = convizit(at, &["doctor"], "");
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stdout).contains("problem  snippet: project shop: "));
    assert!(fails(at, &["project", "add", "shop", "--origin", "https://shop.example"]).contains("shop"));
    assert!(fails(at, &["project", "add", "other", "--origin", "shop.example/path"]).contains("origins[0]"));

    ok(at, &["settings", "set", "shop", "retention_days", "90"]);
    assert_eq!(ok(at, &["settings", "get", "shop", "retention_days"]).trim(), "90");
    assert!(fails(at, &["settings", "set", "shop", "retention_days", "30"]).contains("for 30 days in place of 90"));
    assert!(
        ok(at, &["settings", "unset", "shop", "retention_days", "--dry-run"]).contains("for 60 days in place of 90")
    );
    assert_eq!(ok(at, &["settings", "get", "shop", "retention_days"]).trim(), "90");
    assert!(fails(at, &["settings", "set", "shop", "retention_days", "0"]).contains("retention_days: 1 to 3650"));
    assert!(fails(at, &["settings", "set", "shop", "retention", "90"]).contains("retention_days"));
    for (field, value, form) in [
        ("retention_days", "-1", "takes a whole number from 0 up, and -1 is none"),
        ("retention_days", "soon", "takes a whole number"),
        ("origins", "https://shop.example", "takes a JSON list of texts"),
        ("filter_bots", "yes", "takes true or false"),
        ("identity", "cookies", "cookie+storage"),
    ] {
        assert!(fails(at, &["settings", "set", "shop", field, value]).contains(form), "{field} {value}");
    }
    ok(at, &["settings", "unset", "shop", "retention_days", "--yes"]);
    assert_eq!(ok(at, &["settings", "get", "shop", "retention_days"]).trim(), "60");

    let lines = at.join("events.jsonl").to_string_lossy().into_owned();
    ok(at, &["destination", "add", "shop", "lines", "file", "--path", &lines]);
    assert!(
        fails(at, &["destination", "add", "shop", "out", "file", "--path", "/etc/convizit.jsonl"])
            .contains("allow_folders")
    );
    assert!(
        fails(at, &["destination", "add", "shop", "hook", "webhook", "--url", "http://127.0.0.1:9/"])
            .contains("allow_networks")
    );
    assert!(ok(at, &["destination", "list", "shop"]).contains("up to date"));
    ok(at, &["destination", "pause", "shop", "lines"]);
    assert!(ok(at, &["destination", "list"]).contains("paused by "));
    assert!(ok(at, &["notices", "list"]).contains("Nothing needs you"));
    ok(at, &["destination", "resume", "shop", "lines"]);
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (collector, console) = (free(), free());
    let (busy, listen) = (collector.local_addr().unwrap(), console.local_addr().unwrap());
    let settings = format!(
        "[collector]\nlisten = \"{busy}\"\npublic = \"https://events.shop.example\"\n[console]\nlisten = \"{listen}\"\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nallow_folders = [\"{}\"]\n",
        at.display()
    );
    std::fs::write(at.join("convizit.toml"), settings).unwrap();
    let hook = free();
    let url = format!("http://{}/", hook.local_addr().unwrap());
    let add = ["destination", "add", "shop", "hook", "webhook", "--url", &url];
    assert!(fails(at, &add).contains("hook has no entry of who processes its events"));
    let told = fails(at, &[add.as_slice(), &["--processor", "Hooks Ltd", "--processor-region", "us"]].concat());
    assert!(told.contains("--agreement") && told.contains("2026-10-01"), "{told}");
    ok(at, &[add.as_slice(), &["--processor", "own"]].concat());
    let list = ok(at, &["destination", "processors", "shop", "--csv"]);
    assert!(
        list.contains("shop,hook,webhook,own,,,sending,\n") && list.contains("shop,lines,file,own,,,sending,"),
        "{list}"
    );
    ok(at, &["settings", "set", "shop", "residency", "eu"]);
    let entry = ["--processor", "Hooks Ltd", "--processor-region", "us", "--agreement", "2026-10-01"];
    ok(at, &[&["destination", "processor", "shop", "hook"], entry.as_slice()].concat());
    let list: serde_json::Value = serde_json::from_str(&ok(at, &["destination", "processors", "--json"])).unwrap();
    assert_eq!((&list[0]["processor"], &list[0]["region"]), (&"Hooks Ltd".into(), &"us".into()), "{list}");
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert!(
        told.contains("warning  processor: hook of shop keeps data in us, and this project's is to stay in eu"),
        "{told}"
    );
    ok(at, &["destination", "processor", "shop", "hook", "--processor", "own"]);
    ok(at, &["settings", "set", "shop", "residency_rule", "refuse"]);
    let told = fails(at, &[&["destination", "processor", "shop", "hook"], entry.as_slice()].concat());
    assert!(told.contains("keeps data in us") && told.contains("say another"), "{told}");
    drop((hook, console));
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert!(told.contains(&format!("problem  collector port: collector.listen = {busy} is busy")), "{told}");
    assert!(told.contains("problem  destination: hook of shop: nobody answers at 127.0.0.1:"), "{told}");
    ok(at, &["destination", "remove", "shop", "hook", "--yes"]);
    drop(collector);
    let told = ok(at, &["doctor"]);
    let said: Vec<&str> = told.lines().filter(|line| !line.starts_with("ok")).collect();
    let [running, backups] = said[..] else { panic!("{told}") };
    assert!(running.starts_with("warning  running: no collector, worker or delivery of"), "{told}");
    assert!(backups.starts_with("warning  backups: there is none yet"), "{told}");
    ok(at, &["destination", "remove", "shop", "lines", "--yes"]);
    assert!(fails(at, &["project", "remove", "shop"]).contains("--yes"));
    ok(at, &["project", "remove", "shop", "--yes"]);
    assert!(fails(at, &["project", "show", "shop"]).contains("there is no project shop"));
}

/// A mistyped folder must not become an empty installation beside the real one.
#[test]
fn only_what_makes_an_installation_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("token"), "cz_keys_x").unwrap();
    let before = || std::fs::read_dir(at).unwrap().count();
    for arguments in [
        "verify",
        "verify --backup",
        "keys list",
        "keys rotate --yes",
        "keys destroy day/shop/2026-11-29 --token-file token --yes",
        "keys requests",
        "keys withdraw day/shop/2026-11-29",
        "audit list",
        "audit verify",
        "audit checkpoint",
        "project list",
        "project show shop",
        "project remove shop --yes",
        "settings get shop",
        "settings set shop retention_days 90",
        "destination list",
        "token list",
        "token add desk --project shop --scope erase",
        "notices list",
        "privacy report shop",
        "erase --project shop --all --yes",
        "export --project shop --user 1",
        "backup",
        "backup list",
        "backup drill",
        "serve --role deliver",
        "serve --role console",
    ] {
        let output = convizit(at, &arguments.split(' ').collect::<Vec<_>>(), "");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains("there is no installation in convizit-data: "), "{arguments}: {text}");
        assert_eq!(before(), 1, "{arguments} made something");
    }
    assert!(
        String::from_utf8(convizit(at, &["doctor"], "").stdout)
            .unwrap()
            .contains("problem  store: there is no installation")
    );
    // An empty folder is none either, and stays empty.
    std::fs::create_dir(at.join("convizit-data")).unwrap();
    assert!(fails(at, &["keys", "list"]).contains("there is no installation"));
    assert_eq!(std::fs::read_dir(at.join("convizit-data")).unwrap().count(), 0);
    ok(at, &["project", "add", "shop", "--origin", "https://shop.example"]);
    assert!(ok(at, &["keys", "list"]).contains("project/installation/1"));
}

#[test]
fn a_bad_configuration_stops_the_start_with_one_sentence_that_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("convizit.toml"), "data = \"x\"\nlissten = 1\n").unwrap();
    let text = fails(folder.path(), &["serve"]);
    assert!(text.contains("convizit.toml: line 2") && text.contains("lissten"), "{text}");
    std::fs::write(folder.path().join("convizit.toml"), "[collector]\nlisten = \"0.0.0.0:8090\"\n").unwrap();
    assert!(fails(folder.path(), &["serve"]).contains("behind_proxy"));
    assert!(fails(folder.path(), &["serve", "--config", "missing.toml"]).contains("missing.toml"));
}

#[test]
fn the_faces_take_lines_and_name_the_one_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let output = convizit(
        at,
        &["scrub"],
        "{\"id\":1,\"text\":\"Add to cart\"}\n{\"id\":\"b\",\"text\":\"anna.b@mail.example\"}\n",
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "{\"id\":1,\"withheld\":false,\"rules\":[]}\n{\"id\":\"b\",\"withheld\":true,\"rules\":[\"email\"]}\n"
    );
    // For people: texts, or the lines of a file.
    let output = convizit(at, &["scrub", "--explain", "Add to cart", "Welcome back, Anna"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "may pass                     Add to cart\nwithheld by person           Welcome back, Anna\n  person: a name behind";
    assert!(text.starts_with(expected), "{text}");
    std::fs::write(at.join("texts.txt"), "Size chart\ncall 0151-59998877\n").unwrap();
    let output = convizit(at, &["scrub", "--file", "texts.txt"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().map(|line| line.starts_with("withheld")).collect::<Vec<_>>(), [false, true], "{text}");
    assert!(fails(at, &["scrub", "--file", "missing.txt"]).contains("missing.txt cannot be read"));
    let line = r#"{"id":"q1","page":{"url":"https://shop.example/"},"descriptor":{"role":"button","label":"Add to cart","template":"Add to cart","tag":"button"}}"#;
    std::fs::write(at.join("known.jsonl"), line).unwrap();
    let output = convizit(at, &["name", "--known", "known.jsonl", "--rank"], line);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["name"], &answer["name_source"]), (&"Add to cart".into(), &"action".into()));
    assert_eq!(answer["candidates"][0]["id"], "q1");
    assert_eq!(answer["candidates"][0]["element"], answer["element"]);
    let bad = convizit(at, &["name"], &format!("{line}\nnot json\n"));
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("standard input, line 2"));
    assert_eq!(convizit(at, &["nonsense"], "").status.code(), Some(2));
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in
        ["demo", "serve", "migrate", "doctor", "project", "settings", "destination", "notices", "name", "scrub"]
    {
        assert!(ok(folder.path(), &[command, "--help"]).contains("Example"), "{command}");
    }
}

#[test]
fn a_backup_is_made_listed_tried_looked_at_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Apart from the data, as the key-encryption key.
    std::fs::write(
        at.join("convizit.toml"),
        "data = \"data\"\n[keys]\nprovider = \"file\"\npath = \"key/key\"\n[backup]\nto = \"kept/backups\"\nkeys_to = \"kept/keys\"\n",
    )
    .unwrap();
    ok(at, &["project", "add", "shop", "--origin", "https://shop.example"]);
    assert!(ok(at, &["backup", "--dry-run"]).contains("nothing was done"));
    assert!(!at.join("kept/backups").exists());
    let made: serde_json::Value = serde_json::from_str(&ok(at, &["backup", "--json"])).unwrap();
    assert!(made["packs"].as_u64().unwrap() > 3 && made["packs"] == made["written"], "{made}");
    assert!(ok(at, &["restore", "--list"]).contains("events"), "as it stands where the installation is lost");
    assert!(ok(at, &["backup", "list"]).contains("events"));
    assert!(ok(at, &["verify", "--backup"]).contains("is whole"));
    let verified = ok(at, &["verify"]);
    assert!(
        verified.starts_with("Checked: 0 frames with 0 events, ") && verified.contains("both chains are whole"),
        "{verified}"
    );
    assert!(ok(at, &["backup", "drill"]).contains("can be restored"));
    assert!(fails(at, &["restore", "--yes"]).contains("empty place"));
    std::fs::rename(at.join("data"), at.join("lost")).unwrap();
    assert!(ok(at, &["restore", "--dry-run"]).contains("nothing was done"));
    for arguments in [&["project", "add", "blog", "--origin", "https://blog.example"][..], &["serve"], &["migrate"]] {
        let error = fails(at, arguments);
        assert!(
            error.contains("key/key is of an installation of which nothing is in data")
                && error.contains("convizit restore"),
            "{error}"
        );
    }
    assert!(!at.join("data").exists());
    std::fs::rename(at.join("key"), at.join("elsewhere")).unwrap();
    assert!(fails(at, &["restore", "--yes"]).contains("the key file key/key is missing"));
    std::fs::rename(at.join("elsewhere"), at.join("key")).unwrap();
    assert!(fails(at, &["restore"]).contains("--yes"));
    assert!(fails(at, &["restore", "--at", "2001-01-01T00:00:00Z", "--yes"]).contains("the oldest is of"));
    assert!(ok(at, &["restore", "--yes"]).contains("Restored the backup of"));
    assert!(ok(at, &["project", "list"]).contains("shop"));
    assert!(ok(at, &["audit", "verify"]).len() > 3);
    assert!(fails(at, &["restore", "--yes"]).contains("empty place"));
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    let backups = told.lines().find(|line| line.starts_with("warning  backups: restored on ")).expect(&told);
    assert!(
        backups.contains("has made none since; in kept/backups lie those of before: 1 backup, the newest of "),
        "{told}"
    );
    assert!(backups.contains("each day at 3:00 UTC"), "{told}");

    std::fs::write(at.join("convizit.toml"), "[backup]\nto = \"b\"\nkeys_to = \"b/keys\"\n").unwrap();
    assert!(fails(at, &["backup"]).contains("backup.keys_to = b/keys lies with the backups"));
    // As whoever looks into the backups of an original: everything that reads reads, and nothing is written there.
    std::fs::write(
        at.join("convizit.toml"),
        "data = \"data\"\n[keys]\nprovider = \"file\"\npath = \"key/key\"\n[backup]\noff = true\nto = \"kept/backups\"\nkeys_to = \"kept/keys\"\n",
    )
    .unwrap();
    assert!(ok(at, &["backup", "list"]).contains("events"));
    assert!(ok(at, &["verify", "--backup"]).contains("is whole"));
    assert!(ok(at, &["backup", "drill"]).contains("can be restored"));
    assert!(ok(at, &["backup", "--dry-run"]).contains("this installation makes no backups"));
    for arguments in [&["backup"][..], &["backup", "--take-over"]] {
        let error = fails(at, arguments);
        assert!(error.contains("backups are off") && error.contains("gets places of its own"), "{error}");
    }
    assert!(ok(at, &["notices", "list"]).contains("Nothing needs you"));
    assert!(!String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap().contains("backups"));
}

/// With the folders that nobody named: backups and keys lie in the data folder.
#[test]
fn a_database_that_is_lost_comes_back_by_the_words_of_the_refusal() {
    let folder = with_shop();
    let (at, data) = (folder.path(), folder.path().join("convizit-data"));
    ok(at, &["backup"]);
    let lost = |name: &str| {
        std::fs::rename(data.join(name), at.join(name)).unwrap();
        for command in
            ["project list", "notices list", "verify", "audit list", "audit verify", "backup list", "keys list"]
        {
            let error = fails(at, &command.split(' ').collect::<Vec<_>>());
            assert!(error.contains(&format!("{name} is missing from convizit-data")), "{command}: {error}");
            assert!(!data.join(name).exists(), "{command} made {name} anew");
        }
        let told = convizit(at, &["doctor"], "");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains(&format!("problem  store: {name} is missing from convizit-data")), "{told}");
        std::fs::rename(at.join(name), data.join(name)).unwrap();
    };
    lost("journal.db");
    lost("data.db");
    lost("control.db");
    assert!(ok(at, &["project", "list"]).contains("shop"), "looking did no harm");

    std::fs::remove_file(data.join("control.db")).unwrap();
    assert!(fails(at, &["project", "list"]).contains("convizit restore --move-aside"));
    assert!(fails(at, &["restore", "--yes"]).contains("convizit restore --move-aside"));
    let would = ok(at, &["restore", "--move-aside", "--dry-run"]);
    assert!(would.contains("would move data.db, journal.db") && data.join("data.db").exists(), "{would}");
    assert!(fails(at, &["restore", "--move-aside"]).contains("--yes"));
    // As every process of any role shares it; a console holds nothing else.
    let running = std::fs::File::create(data.join("serve.lock")).unwrap();
    running.lock_shared().unwrap();
    for arguments in [&["restore", "--move-aside", "--yes"][..], &["restore", "--move-aside", "--dry-run"]] {
        let error = fails(at, arguments);
        assert!(
            error.contains("a console, or another command of convizit, runs on convizit-data: end it first"),
            "{error}"
        );
    }
    assert!(data.join("data.db").exists());
    drop(running);
    // What would be acknowledged while the databases are moved away would be lost with them.
    let moving = std::fs::File::create(data.join("serve.lock")).unwrap();
    moving.lock().unwrap();
    for arguments in
        [&["erase", "--project", "shop", "--visitor", "a", "--yes"][..], &["migrate"], &["project", "list"]]
    {
        assert!(fails(at, arguments).contains("is moving the databases of convizit-data away"), "{arguments:?}");
    }
    let told = convizit(at, &["doctor"], "");
    assert!(String::from_utf8_lossy(&told.stdout).contains("is moving the databases of convizit-data away"));
    drop(moving);
    let said = ok(at, &["restore", "--move-aside", "--yes"]);
    assert!(said.contains("What lay there before is in convizit-data/aside-"), "{said}");
    let told = convizit(at, &["doctor"], "");
    assert!(String::from_utf8_lossy(&told.stdout).contains("which neither retention nor an erasure reaches"));
    let said = ok(at, &["erase", "--project", "shop", "--visitor", "a", "--yes"]);
    assert!(said.contains("which no erasure reaches: delete it"), "{said}");
    let beside = std::fs::File::open(data.join("serve.lock")).unwrap();
    beside.lock_shared().unwrap();
    assert!(ok(at, &["project", "list"]).contains("shop"), "beside what runs");
    drop(beside);
    ok(at, &["backup"]);

    // Where the whole folder was moved away, the places are to be named.
    std::fs::rename(&data, at.join("moved")).unwrap();
    for arguments in [&["restore", "--list"][..], &["restore", "--yes"]] {
        let error = fails(at, arguments);
        assert!(error.contains("backup.to") && error.contains("backup-keys in it"), "{error}");
        assert!(!error.contains("convizit backup makes"), "{error}");
    }
    std::fs::write(
        at.join("convizit.toml"),
        "[keys]\nprovider = \"file\"\npath = \"moved/keys\"\n[backup]\nto = \"moved/backups\"\nkeys_to = \"moved/backup-keys\"\n",
    )
    .unwrap();
    assert!(ok(at, &["restore", "--yes"]).contains("Restored the backup of"));
    assert!(ok(at, &["project", "list"]).contains("shop"));
}

pub(crate) fn with_shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["project", "add", "shop", "--origin", "https://shop.example"]);
    folder
}

#[test]
fn the_audit_log_is_listed_filtered_exported_and_verified() {
    let folder = with_shop();
    let at = folder.path();
    ok(at, &["settings", "set", "shop", "retention_days", "90"]);
    let listed = ok(at, &["audit", "list"]);
    assert!(listed.contains("settings.save") && !listed.contains("key.unwrap"), "{listed}");
    assert!(ok(at, &["audit", "list", "--all"]).contains("root/installation/1"));
    assert!(ok(at, &["audit", "list", "--act", "key.wrap"]).contains("key.wrap"));
    let none = ok(at, &["audit", "list", "--since", "2100-01-01T00:00:00Z"]);
    assert!(none.starts_with("No entry is of 2100-01-01T00:00:00") && none.lines().count() == 1, "{none}");
    let none = ok(at, &["audit", "list", "--actor", "nobody"]);
    assert!(none.starts_with("No entry by nobody fits: actors are os:NAME"), "{none}");
    assert_eq!(ok(at, &["audit", "list", "--actor", "nobody", "--json"]).trim(), "[]");
    let log: serde_json::Value =
        serde_json::from_str(&ok(at, &["audit", "list", "--act", "settings.save", "--json"])).unwrap();
    let who = log[0]["actor"].as_str().unwrap();
    let uid = std::fs::metadata(at.join("convizit-data")).unwrap().uid();
    assert!(who.starts_with("os:") && who.ends_with(&format!("({uid})")), "{who}");
    let name = who.split('(').next().unwrap();
    assert!(ok(at, &["audit", "list", "--actor", name]).contains("settings.save"));
    assert!(ok(at, &["audit", "list", "--actor", who]).contains("settings.save"));
    assert!(fails(at, &["audit", "list", "--project", "shoop"]).contains("there is no project shoop"));
    let error = fails(at, &["audit", "list", "--act", "key.destory"]);
    assert!(error.contains("there is no act key.destory: near it are key.destroy, "), "{error}");
    assert!(fails(at, &["audit", "list", "--act", "projekt.create"]).contains("near it are project.create"));
    assert!(fails(at, &["audit", "list", "--act", "sesame"]).contains("acts are of access, account, audit, backup"));
    let numbers = |arguments: &[&str]| -> Vec<i64> {
        let listed: serde_json::Value = serde_json::from_str(&ok(at, arguments)).unwrap();
        listed.as_array().unwrap().iter().map(|entry| entry["number"].as_i64().unwrap()).collect()
    };
    let all = numbers(&["audit", "list", "--all", "--json"]);
    assert!(all.len() > 4 && all.windows(2).all(|pair| pair[0] == pair[1] + 1) && all.last() == Some(&1), "{all:?}");
    let first = numbers(&["audit", "list", "--limit", "2", "--all", "--json"]);
    assert_eq!(first.len(), 2);
    let before = first[1].to_string();
    let next = numbers(&["audit", "list", "--limit", "1", "--all", "--before", &before, "--json"]);
    assert_eq!(next, [first[1] - 1]);
    let some = convizit(at, &["audit", "list", "--limit", "1"], "");
    let said = String::from_utf8_lossy(&some.stderr);
    assert!(said.starts_with("1 of ") && said.contains("entries: --before "), "{said}");
    let whole = convizit(at, &["audit", "list", "--all"], "");
    assert!(whole.stderr.is_empty(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert_eq!(numbers(&["audit", "list", "--act", "backup.drop", "--json"]), [0_i64; 0]);
    assert!(ok(at, &["audit", "export", "--out", "audit.jsonl"]).contains("entries in audit.jsonl"));
    let lines = std::fs::read_to_string(at.join("audit.jsonl")).unwrap();
    assert!(lines.lines().next().unwrap().starts_with("{\"number\":1,"), "{lines}");
    assert!(fails(at, &["audit", "export", "--out", "audit.jsonl"]).contains("is there already"));
    std::fs::write(at.join("kept.jsonl"), "\n").unwrap();
    assert!(fails(at, &["audit", "verify", "--checkpoints", "kept.jsonl"]).contains("holds no checkpoint"));
    std::fs::write(at.join("kept.jsonl"), ok(at, &["audit", "checkpoint"])).unwrap();
    ok(at, &["audit", "verify", "--checkpoints", "kept.jsonl"]);
}

#[test]
fn keys_are_listed_rotated_and_what_needs_one_is_said_before_it_is_destroyed() {
    let folder = with_shop();
    let at = folder.path();
    let rotated = ok(at, &["keys", "rotate", "--yes"]);
    assert!(rotated.contains("Copy convizit-data/keys again"), "{rotated}");
    let listed = ok(at, &["keys", "list"]);
    assert!(listed.contains("in use; a new one takes its place on "), "{listed}");
    assert!(listed.contains("nothing needs it: upkeep destroys it within an hour"), "{listed}");
    ok(at, &["keys", "rotate", "--project", "shop", "--yes"]);
    let listed = ok(at, &["keys", "list", "--project", "shop"]);
    assert!(
        listed.contains("project/shop/1") && listed.contains("waits") && listed.contains("seals from 2"),
        "{listed}"
    );
    assert!(fails(at, &["keys", "list", "--project", "shoop"]).contains("shoop"));
    for name in ["anna", "ben"] {
        let made = ok(at, &["token", "add", name, "--scope", "keys", "--out", name]);
        assert!(made.contains(&format!("its secret is in {name}")) && !made.contains("cz_keys"), "{made}");
        assert_eq!(std::fs::metadata(at.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let error = fails(at, &["token", "add", "cleo", "--scope", "keys", "--out", "ben"]);
    assert!(error.contains("ben is there already"), "{error}");
    assert!(fails(at, &["token", "add", "Cleo", "--scope", "keys", "--out", "cleo"]).contains("a-z"));
    assert!(!at.join("cleo").exists(), "no empty file stays");
    let of = |who: &'static str, how: &'static str| ["keys", "destroy", "project/shop/1", "--token-file", who, how];
    let destroy = |who, how| ok(at, &of(who, how));
    std::fs::set_permissions(at.join("anna"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = fails(at, &of("anna", "--dry-run"));
    assert!(error.contains("anna: others may read or write it (mode 0644): run chmod 600 on it"), "{error}");
    std::fs::set_permissions(at.join("anna"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let would = destroy("anna", "--dry-run");
    assert!(would.contains("0 events in 0 frames") && would.contains("nobody has asked"), "{would}");
    assert!(ok(at, &["keys", "requests"]).starts_with("Nobody has asked"));
    assert!(fails(at, &["keys", "withdraw", "project/shop/1"]).contains("there is no request"));
    destroy("anna", "--yes");
    let asked = ok(at, &["keys", "requests"]);
    assert!(asked.contains("project/shop/1") && asked.contains("anna"), "{asked}");
    assert!(ok(at, &["keys", "withdraw", "project/shop/1"]).contains("nobody asks any more"));
    assert_eq!(ok(at, &["keys", "requests", "--json"]).trim(), "[]");
    assert!(destroy("ben", "--dry-run").contains("nobody has asked"), "it was withdrawn");
    ok(at, &["token", "add", "dora", "--scope", "keys", "--out", "dora"]);
    destroy("dora", "--yes");
    let would = ok(at, &["token", "remove", "dora", "--dry-run"]);
    assert!(would.contains("take back that it asks to destroy project/shop/1"), "{would}");
    let removed = ok(at, &["token", "remove", "dora", "--yes"]);
    assert!(removed.contains("nobody asks any more to destroy project/shop/1"), "{removed}");
    let log = ok(at, &["audit", "list", "--project", "shop", "--act", "key.destroy.withdraw"]);
    assert!(log.contains("asked by dora, whose token was removed"), "{log}");
    for (key, why) in [
        ("root/installation/1", "the root secret"),
        ("project/installation/1", "the installation's own"),
        ("file:5f0c", "convizit keys rotate makes a new one"),
    ] {
        let error = fails(at, &["keys", "destroy", key, "--token-file", "ben", "--yes"]);
        assert!(
            error.contains(&format!("{key} cannot be destroyed by hand: it is ")) && error.contains(why),
            "{error}"
        );
    }
    let sudo = |uid: &str, who: &'static str, how: &'static str| {
        let done = command(at, &of(who, how)).env("SUDO_UID", uid).output().unwrap();
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    };
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    let is_unknown = login.trim().is_empty() || login.trim() == "4294967295";
    if is_unknown {
        // As in a container, where two people are one user: their tokens decide.
        destroy("anna", "--yes");
        assert!(destroy("anna", "--dry-run").contains("a second person must say so"));
        assert!(destroy("ben", "--dry-run").contains("anna has asked for it, so this is the second word"));
        let listed = ok(at, &["audit", "list", "--project", "shop", "--act", "key.destroy.ask"]);
        assert!(listed.contains("no login is known here"), "{listed}");
        ok(at, &["keys", "withdraw", "project/shop/1"]);
    }
    // Two tokens of one user of the machine are one word.
    assert!(sudo("71233", "anna", "--yes").contains("anna asks to destroy project/shop/1"));
    assert!(sudo("71233", "ben", "--dry-run").contains("so this is refused"));
    let error = sudo("71233", "ben", "--yes");
    assert!(error.contains("asked for it from the same user of this machine, os:"), "{error}");
    if is_unknown {
        assert!(sudo("71234", "ben", "--dry-run").contains("anna has asked for it, so this is the second word"));
        assert!(sudo("71234", "ben", "--yes").contains("is destroyed"));
        let listed = ok(at, &["audit", "list", "--project", "shop", "--act", "key.destroy"]);
        assert!(listed.contains("project/shop/1") && listed.contains("from os:71234(71234) as "), "{listed}");
    } else {
        let said = sudo("71234", "ben", "--yes");
        assert!(said.contains("the same user of this machine"), "the kernel knows who has logged in: {said}");
    }
    std::fs::rename(at.join("convizit-data/keys"), at.join("elsewhere")).unwrap();
    let error = fails(at, &["keys", "list"]);
    assert!(error.contains("the key file convizit-data/keys is missing"), "{error}");
}

#[test]
fn what_is_planned_is_said_to_programs_as_json_and_to_people_with_its_counts() {
    let folder = with_shop();
    let at = folder.path();
    let plan = |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&ok(at, arguments)).unwrap() };
    let erase = plan(&["erase", "--project", "shop", "--visitor", "v1", "--dry-run", "--json"]);
    assert_eq!((&erase["dry_run"], &erase["persons"], &erase["events"]), (&true.into(), &1.into(), &0.into()));
    let all = plan(&["erase", "--project", "shop", "--all", "--dry-run", "--json"]);
    assert_eq!((&all["all"], &all["events"]), (&true.into(), &0.into()));
    let none = ok(at, &["erase", "--project", "shop", "--visitor", "v1", "--yes"]);
    assert!(none.contains("nothing of 1 id was stored") && !none.contains("bytes"), "{none}");
    assert!(ok(at, &["erase", "--project", "shop", "--list"]).contains("1 id  "));
    let both = plan(&["erase", "--project", "shop", "--visitor", "v1", "v2", "--user", "u1", "--dry-run", "--json"]);
    assert_eq!(both["persons"], 3, "visitors and users in one call");
    std::fs::write(at.join("left.txt"), "v1\n").unwrap();
    let mixed = ["erase", "--project", "shop", "--visitor", "v1", "--user", "u1", "--file", "left.txt", "--dry-run"];
    assert!(fails(at, &mixed).contains("a file has ids of one kind"));
    let by_file = plan(&["erase", "--project", "shop", "--user", "--file", "left.txt", "--dry-run", "--json"]);
    assert_eq!(by_file["persons"], 1);
    let unsaid = fails(at, &["erase", "--project", "shop", "v1", "--dry-run"]);
    assert!(unsaid.contains("Say --visitor or --user"), "{unsaid}");
    let error = fails(at, &["export", "--project", "shop", "--user", "4711", "--out", "for-4711"]);
    assert!(error.contains("nothing is stored about this user in project shop"), "{error}");
    assert!(error.contains("whether --user is") && !at.join("for-4711").exists(), "{error}");
    let error = fails(at, &["export", "--project", "shop", "--user", "4711", "--visitor", "v1"]);
    assert!(error.contains("nothing is stored about these 2 ids"), "{error}");
    ok(at, &["backup"]);
    let would = ok(at, &["backup", "--dry-run"]);
    assert!(would.contains("1 older one would be dropped"), "{would}");
    assert_eq!(plan(&["backup", "--dry-run", "--json"])["drops"].as_array().unwrap().len(), 1);
    let manifest =
        std::fs::read_dir(at.join("convizit-data/backups/manifests")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(manifest, "cut").unwrap();
    assert!(ok(at, &["backup", "list"]).contains("cannot be read: "));
}

#[test]
fn incidents_are_listed_and_a_mail_server_is_tried_before_anybody_waits_for_mail() {
    let folder = with_shop();
    let at = folder.path();
    assert_eq!(ok(at, &["incidents", "list"]).trim(), "There is no incident.");
    assert_eq!(ok(at, &["incidents", "list", "--all", "--json"]).trim(), "[]");
    assert!(fails(at, &["incidents", "triage", "3"]).contains("there is no incident 3"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mail = |rest: &str| {
        let text = format!("[mail]\nhost = \"localhost\"\nport = {port}\nfrom = \"c@shop.example\"\n{rest}");
        std::fs::write(at.join("convizit.toml"), text).unwrap();
    };
    mail("tls = \"none\"\n");
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert!(
        told.contains(&format!("problem  mail server: the mail server localhost:{port} cannot be reached")),
        "{told}"
    );
    mail("tls = \"ssl\"\n");
    assert!(fails(at, &["incidents", "list"]).contains("convizit.toml: line 5"));
    mail("user = \"c\"\npassword_file = \"missing\"\n");
    assert!(fails(at, &["incidents", "list"]).contains("mail.password_file missing cannot be read"));
}

/// The demo needs no convizit.toml that allows its folder and this machine, and its receiver ends with it.
#[test]
fn a_doctor_finds_nothing_wrong_with_the_destinations_of_the_demo() {
    let folder = with_shop();
    let at = folder.path();
    let data = at.join("convizit-data");
    let add = async {
        let keys = open_provider(&ProviderConfig::File { path: data.join("keys") }).unwrap();
        let store = Store::open(StoreConfig::in_folder(&data), keys, Arc::new(SystemClock)).await.unwrap();
        let lines = data.join("events.jsonl").to_string_lossy().into_owned();
        for (name, kind) in [
            ("terminal", DestinationKind::Stdout { format: StdoutFormat::Pretty }),
            ("file", DestinationKind::File { path: lines }),
            ("webhook", DestinationKind::Webhook { url: "http://127.0.0.1:9/".to_owned() }),
        ] {
            let (project, name) = ("shop".parse().unwrap(), name.to_owned());
            let demo = Destination {
                project,
                name,
                enabled: true,
                paused: None,
                processor: Some(convizit_model::Processor::own()),
                types: Vec::new(),
                shaping: Default::default(),
                kind,
            };
            store.save_destination(&demo, Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), false).await.unwrap();
        }
        store.close().await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(add);
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert_eq!(told.lines().filter(|line| *line == "ok       destination of shop").count(), 3, "{told}");
    // While a process delivers, the receiver is to answer.
    let lock = std::fs::File::create(data.join("deliver.lock")).unwrap();
    lock.lock().unwrap();
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert!(told.contains("problem  destination: webhook of shop: nobody answers at 127.0.0.1:9"), "{told}");
}
