//! SIGHUP: the configuration file is read again, and the log follows it.

use rustix::process::Signal;

use crate::process::{Process, serve};

#[test]
fn a_hangup_brings_the_file_into_force_and_a_bad_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    std::fs::write(&file, "log = \"info\"\nmax_inputs = 5\n").unwrap();
    let mut server = Process::serving(serve(&folder.path().join("data")).arg("--config").arg(&file));

    std::fs::write(&file, "log = \"info,server=debug\"\nmax_inputs = 6\nmax_message_bytes = 5\n").unwrap();
    server.signal(Signal::HUP);
    let changed = server.until("option changed");
    assert_eq!((&changed["option"], &changed["after"]), (&"log".into(), &"info,server=debug".into()));
    let changed = server.until("option changed");
    assert_eq!((&changed["before"], &changed["after"]), (&"5".into(), &"6".into()));
    assert_eq!(server.until("the option has another value now, which needs a restart")["option"], "max_message_bytes");
    server.until("configuration reloaded");

    std::fs::write(&file, "log = \"off\"\nmax_input = 7\n").unwrap();
    server.signal(Signal::HUP);
    let refused = server.until("the configuration was not reloaded; the old one stays in force");
    assert_eq!(refused["failure"], "the configuration file: `max_input` is no option");
    assert!(server.is_alive());

    drop(server.mute_client());
    server.until("connection ended with an error");
}

#[test]
fn a_hangup_brings_the_list_of_identities_into_force_and_a_bad_list_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("identities");
    std::fs::write(&list, "acme infer spiffe://mesh/shop\n").unwrap();
    let mut command = serve(&folder.path().join("data"));
    let mut server = Process::serving(command.args(["--auth", "on", "--identities"]).arg(&list));

    std::fs::write(&list, "acme infer,heads spiffe://mesh/shop\n").unwrap();
    server.signal(Signal::HUP);
    assert_eq!(server.until("configuration reloaded")["identities"], true);

    std::fs::write(&list, "acme infer spiffe://mesh/shop\nacme admin somebody\n").unwrap();
    server.signal(Signal::HUP);
    let refused = server.until("the configuration was not reloaded; the old one stays in force");
    let failure = refused["failure"].as_str().unwrap();
    assert!(failure.starts_with("the file of --identities, line 2: scope \"admin\""), "{failure}");
    assert!(server.is_alive());
}
