//! Signatures: of one key, over one text, of one kind; and keys in files.

use super::super::sign::{self, Distrust, KeyError, KeyId, PublicKeys, Signature, Statement};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const KINDS: [Statement; 4] =
    [Statement::Footer, Statement::Checkpoint, Statement::Tombstone, Statement::Evidence];

#[test]
fn a_key_is_read_as_openssl_writes_it_and_has_one_id() {
    let signer = signer();
    assert_eq!(
        signer.public().to_pem(),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n-----END PUBLIC KEY-----\n"
    );
    // `openssl pkey -pubout -outform DER | sha256sum`
    assert_eq!(signer.id().to_string(), "deb2ded39dc26fce");
    assert_eq!(signer.id().to_string().parse(), Ok(signer.id()));
    assert_eq!(serde_json::to_value(signer.id()).unwrap(), "deb2ded39dc26fce");
    assert_eq!(serde_json::from_str::<KeyId>("\"deb2ded39dc26fce\"").unwrap(), signer.id());
    for text in ["", "DEB2DED39DC26FCE", "deb2ded39dc26fc", "+eb2ded39dc26fce", "deb2ded39dc26fce3"] {
        assert!(text.parse::<KeyId>().is_err(), "{text}");
    }
    assert_eq!(format!("{signer:?}"), "Signer(deb2ded39dc26fce)");
    let (made, pem) = Signer::generate().unwrap();
    assert_eq!(Signer::from_pem(&pem).unwrap().id(), made.id());
    let public = made.public().to_pem();
    for text in ["", "x", &public, &pem.replace("PRIVATE", "EC PRIVATE"), &pem[..pem.len() - 40]] {
        assert!(matches!(Signer::from_pem(text), Err(KeyError::NotPrivate)), "{text}");
    }
}

/// What is signed begins with what it is: known bytes, so that other programs can check it.
#[test]
fn what_is_signed_are_the_documented_bytes() {
    let signer = signer();
    let signature = signer.sign(Statement::Footer, b"{}").unwrap();
    let public = signer.public().to_pem();
    let der =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, public.lines().nth(1).unwrap());
    let raw = &der.unwrap()[12..];
    let ed25519 = &aws_lc_rs::signature::ED25519;
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(ed25519, raw);
    key.verify(b"chaperone recording footer 1\0{}", &signature.bytes).unwrap();
    let signature = signer.sign(Statement::Checkpoint, b"{}").unwrap();
    key.verify(b"chaperone checkpoint 1\0{}", &signature.bytes).unwrap();
    let signature = signer.sign(Statement::Tombstone, b"{}").unwrap();
    key.verify(b"chaperone tombstone 1\0{}", &signature.bytes).unwrap();
    let signature = signer.sign(Statement::Evidence, b"{}").unwrap();
    key.verify(b"chaperone evidence 1\0{}", &signature.bytes).unwrap();
}

#[test]
fn a_signature_of_one_kind_never_counts_as_another() {
    let signer = signer();
    let keys = PublicKeys::from(signer.public());
    for made in KINDS {
        let signature = signer.sign(made, b"all of it").unwrap();
        for asked in KINDS {
            let expected = if made == asked { Ok(()) } else { Err(Distrust::Wrong(signer.id())) };
            assert_eq!(keys.verify(asked, b"all of it", &signature), expected, "{made:?} as {asked:?}");
        }
    }
}

#[test]
fn only_keys_that_were_given_are_trusted() {
    let [ours, theirs] = [Signer::generate().unwrap().0, Signer::generate().unwrap().0];
    let signature = theirs.sign(Statement::Footer, b"x").unwrap();
    let mut keys = PublicKeys::from(ours.public());
    assert_eq!(keys.verify(Statement::Footer, b"x", &signature), Err(Distrust::UnknownKey(theirs.id())));
    // Whoever names our key has not signed with it.
    let forged = Signature { key: ours.id(), ..signature };
    assert_eq!(keys.verify(Statement::Footer, b"x", &forged), Err(Distrust::Wrong(ours.id())));
    keys.add(theirs.public());
    assert_eq!(keys.verify(Statement::Footer, b"x", &signature), Ok(()));
}

proptest! {
    #[test]
    fn no_changed_byte_is_signed(message in prop::collection::vec(any::<u8>(), 1..80), at in 0_usize..2000, flip in 1_u8..) {
        let signer = signer();
        let keys = PublicKeys::from(signer.public());
        let signature = signer.sign(Statement::Footer, &message).unwrap();
        prop_assert_eq!(keys.verify(Statement::Footer, &message, &signature), Ok(()));
        let mut changed = message.clone();
        changed[at % message.len()] ^= flip;
        prop_assert!(keys.verify(Statement::Footer, &changed, &signature).is_err());
        let mut other = signature;
        other.bytes[at % 64] ^= flip;
        prop_assert!(keys.verify(Statement::Footer, &message, &other).is_err());
    }
}

#[test]
fn a_key_is_made_once_and_never_overwritten() {
    let folder = directory();
    let path = folder.path().join("recording-key.pem");
    let first = sign::keep(&path).unwrap();
    assert!(first.made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first.public, folder.path().join("recording-key.pub.pem"));
    assert_eq!(fs::read_to_string(&first.public).unwrap(), first.signer.public().to_pem());
    let before = fs::read(&path).unwrap();
    let again = sign::keep(&path).unwrap();
    assert_eq!((again.made, again.signer.id()), (false, first.signer.id()));
    let Err(KeyError::File { cause, .. }) = sign::make(&path) else { panic!() };
    assert_eq!(cause.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    // A public half that is not its own is put right: it is derived.
    fs::remove_file(&first.public).unwrap();
    fs::write(&first.public, "other").unwrap();
    sign::keep(&path).unwrap();
    assert_eq!(fs::read_to_string(&first.public).unwrap(), first.signer.public().to_pem());
}

#[test]
fn a_private_key_that_others_read_or_that_is_none_is_refused() {
    let folder = directory();
    let path = folder.path().join("recording-key.pem");
    sign::keep(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(sign::keep(&path), Err(KeyError::OpenToOthers(_))));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "garbage").unwrap();
    let error = sign::keep(&path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()) && !error.contains("garbage"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    assert!(sign::keep(&folder.path().join("missing").join("key.pem")).is_err());
}

#[test]
fn public_keys_are_read_from_files_and_folders() {
    let folder = directory();
    let signers: Vec<Signer> = (0..3).map(|_| Signer::generate().unwrap().0).collect();
    let published = sign::publish(folder.path(), signers[0].public()).unwrap();
    assert_eq!(published, folder.path().join("keys").join(format!("{}.pem", signers[0].id())));
    sign::publish(folder.path(), signers[0].public()).unwrap();
    sign::publish(folder.path(), signers[1].public()).unwrap();
    fs::write(folder.path().join("keys").join("README"), "not a key").unwrap();
    let keys = PublicKeys::read(&[folder.path().join("keys")]).unwrap();
    let mut expected = [signers[0].id(), signers[1].id()];
    expected.sort_unstable();
    assert!(keys.ids().eq(expected));
    let two = folder.path().join("two.pem");
    fs::write(&two, format!("a comment\n{}\n{}", signers[1].public().to_pem(), signers[2].public().to_pem()))
        .unwrap();
    assert_eq!(PublicKeys::read(&[published, two]).unwrap().ids().count(), 3);
    // Who gives what is no key, or a private one, hears of it.
    let private = folder.path().join("private.pem");
    sign::make(&private).unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for path in [&private, &empty] {
        let Err(KeyError::Nothing(found)) = PublicKeys::read(std::slice::from_ref(path)) else { panic!() };
        assert_eq!(&found, path);
    }
    let odd = folder.path().join("odd.pem");
    fs::write(&odd, "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n").unwrap();
    assert!(matches!(PublicKeys::read(&[odd]), Err(KeyError::In { .. })));
    assert!(matches!(PublicKeys::read(&[folder.path().join("absent")]), Err(KeyError::File { .. })));
}
