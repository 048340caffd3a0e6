use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

use super::*;

/// A folder that is removed when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("boardcast-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let beside = self.0.join("new");
        fs::write(&beside, text).expect("written");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("set");
        fs::rename(&beside, &path).expect("renamed");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pair() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
}

#[test]
fn what_cannot_be_used_is_told_in_one_sentence_with_its_mend() {
    let folder = Folder::new("tls-wrong");
    let (certificate, key) = pair();
    let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cut = &certificate[..certificate.len() / 2];
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let long = "x".repeat(300 * 1024);
    for (certificate, key, mend) in [
        ("", key.as_str(), "BEGIN CERTIFICATE"),
        ("hello", &key, "BEGIN CERTIFICATE"),
        (cut, &key, "no certificate in PEM form"),
        (empty, &key, "cannot be used"),
        (&key, &key, "mixed up"),
        (&certificate, &certificate, "mixed up"),
        (&certificate, "", "BEGIN PRIVATE KEY"),
        (&certificate, locked, "openssl pkey"),
        (&certificate, old, "openssl pkey"),
        (&certificate, &other, "not the one of the certificate"),
        (&certificate, &key[..60], "no key in PEM form"),
        (&certificate, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "ECDSA"),
        (&long, &key, "256 KiB"),
    ] {
        let (certificate, key) = (folder.write("cert", certificate), folder.write("key", key));
        let error = Tls::load(&certificate, &key).expect_err(mend).to_string();
        assert!(error.contains(mend) && !error.contains('\n'), "{mend}: {error}");
        assert!(error.contains(&folder.0.display().to_string()), "{error}");
    }
    let missing = Tls::load(&folder.0.join("none"), &folder.0.join("none")).expect_err("none");
    assert!(missing.to_string().contains("boardcast cert"), "{missing}");
    let no_file = Tls::load(&folder.0, &folder.0).expect_err("a folder");
    assert!(no_file.to_string().ends_with("is no file"), "{no_file}");
    // Both in one file, in any order, is fine.
    for both in [certificate.clone() + &key, key + &certificate] {
        let both = folder.write("both", &both);
        Tls::load(&both, &both).expect("a certificate and its key");
    }
}

#[test]
fn files_that_change_are_taken_up_and_broken_ones_are_not() {
    let folder = Folder::new("tls-change");
    let (certificate, key) = pair();
    let places = (folder.write("cert", &certificate), folder.write("key", &key));
    let tls = Tls::load(&places.0, &places.1).expect("a pair");
    let now = || Arc::as_ptr(&*tls.0.config.read().expect("no panic"));
    let first = now();
    tls.refresh();
    assert_eq!(now(), first, "nothing has changed");
    let (certificate, key) = pair();
    folder.write("cert", &certificate);
    tls.refresh();
    assert_eq!(now(), first, "the new key is not there yet");
    tls.look(LOOK_EVERY);
    folder.write("key", &key);
    tls.look(LOOK_EVERY);
    assert_eq!(now(), first, "they were looked at a moment ago");
    tls.refresh();
    let second = now();
    assert_ne!(second, first);
    fs::remove_file(&places.1).expect("removed");
    tls.refresh();
    assert_eq!(now(), second, "it goes on with what it has");
    // As the other one that looks would have it.
    let looks = tls.0.watch.lock();
    tls.refresh();
    drop(looks);
}
