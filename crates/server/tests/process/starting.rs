//! What keeps a server from starting is said in a sentence, and the exit status says so, too.

use std::process::Stdio;

use crate::process::{Process, bundle, output, serve};

fn refusal(arguments: &[&str]) -> String {
    let (started, said) = output(&[&["serve"], arguments].concat());
    assert!(!started, "{said}");
    said
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = Process::listening(&mut serve(first.path()));
    let address = running.address.to_string();
    let (bundle, data) = (bundle(second.path()), second.path().to_str().unwrap().to_owned());
    let said = refusal(&["--data", &data, "--bundle", bundle.to_str().unwrap(), "--listen", &address]);
    assert!(said.contains(&format!("cannot listen on {address}: Address already in use")), "{said}");
    let said = refusal(&["--data", &data, "--bundle", bundle.to_str().unwrap(), "--metrics", &address]);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}

#[test]
fn slips_in_a_configuration_file_are_named_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    let slips = [
        ("max_input = 1", "`max_input` is no option"),
        ("max_inputs = 0", "max_inputs = 0"),
        ("max_inputs = \"many\"", "invalid value 'many'"),
        ("tls_cert = \"cert.pem\"", "--tls-cert and --tls-key are given together"),
        ("tls_cert = \"/nowhere\"\ntls_key = \"/nowhere\"", "cannot read the file of --tls-cert"),
        ("client_ca = \"ca.pem\"", "need --tls-cert"),
        ("log = \"loud\"", "`loud` is no level"),
    ];
    for (text, expected) in slips {
        std::fs::write(&file, format!("data = \"nowhere\"\n{text}\n")).unwrap();
        for more in [&["--check"][..], &[]] {
            let said = refusal(&[&["--config", file.to_str().unwrap()], more].concat());
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}

#[test]
fn a_check_says_where_each_value_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    std::fs::write(&file, "data = \"here\"\nmax_inputs = 1\nmax_tasks = 2\nmax_choices = 3\n").unwrap();
    let checked = std::process::Command::new(crate::process::PROGRAM)
        .args(["serve", "--check", "--max-inputs", "10"])
        .env("HEADWATER_CONFIG", &file)
        .envs([("HEADWATER_MAX_INPUTS", "20"), ("HEADWATER_MAX_TASKS", "20")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    let line = |name: &str| said.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap().to_owned();
    let words = |name: &str| line(name).split_whitespace().skip(2).map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words("max_inputs"), "10 # flag");
    assert_eq!(words("max_tasks"), "20 # environment");
    assert_eq!(words("max_choices"), "3 # file");
    assert_eq!(words("max_text_bytes"), "65536 # default");
}
