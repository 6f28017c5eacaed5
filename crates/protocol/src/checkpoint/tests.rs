use proptest::prelude::*;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

use super::*;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn public(keys: &[&PrivateKey]) -> Keys {
    Keys::new(&Jwks { keys: keys.iter().map(|key| key.to_public_jwk()).collect() }).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: "approvals.example.com".into(), size: 42, root: Hash::of(b"root") }
}

#[test]
fn what_was_signed_is_what_is_read() {
    let note = checkpoint().sign(&key(1)).unwrap();
    let text = "approvals.example.com\n42\n".to_owned() + &b64(Hash::of(b"root").as_bytes()) + "\n";
    assert!(note.starts_with(&(text + "\n— approvals.example.com ")), "{note}");
    assert_eq!(Checkpoint::open(&note, &public(&[&key(2), &key(1)])), Ok(checkpoint()));
    assert_eq!(Checkpoint::unverified(&note), Ok(checkpoint()));
    // A witness has signed too, and says more in a line of its own; it comes to nothing here.
    let cosigned = note.clone() + "— witness.example.com AAAAAAAAAA==\n";
    assert_eq!(Checkpoint::open(&cosigned, &public(&[&key(1)])), Ok(checkpoint()));
}

#[test]
fn a_note_that_was_touched_counts_for_nothing() {
    let note = checkpoint().sign(&key(1)).unwrap();
    let keys = public(&[&key(1)]);
    let origin = |origin: &str| note.replace("approvals.example.com", origin);
    let twice = note.replacen("\n\n", "\n\n— approvals.example.com AAAAAAAAAA==\n", 1);
    for (touched, error) in [
        (note.replace("\n42\n", "\n43\n"), CheckpointError::Signature),
        (note.replace("\n42\n", "\n042\n"), CheckpointError::Text),
        (note.replace("\n42\n", "\n+42\n"), CheckpointError::Text),
        (note.replace("\n42\n", "\n42\n\n"), CheckpointError::Text),
        (note.replacen("\n\n", "\nmore\n\n", 1), CheckpointError::Signature),
        (origin("other.example.com"), CheckpointError::Unsigned),
        (origin("two words"), CheckpointError::Text),
        (note.replacen("approvals.example.com", "other.example.com", 1), CheckpointError::Unsigned),
        (note.trim_end().to_owned(), CheckpointError::Note),
        (note.replace("— ", "- "), CheckpointError::Note),
        (note.replace('\n', "\r\n"), CheckpointError::Note),
        (note.clone() + "\n", CheckpointError::Note),
        (note.replace("\n\n", "\n"), CheckpointError::Note),
        (format!("{note}— {}", "x".repeat(MAX_NOTE)), CheckpointError::Note),
        (String::new(), CheckpointError::Note),
        ("\n\n".into(), CheckpointError::Note),
    ] {
        assert_eq!(Checkpoint::open(&touched, &keys), Err(error), "{touched}");
    }
    // A line of an unknown key beside ours is no harm.
    assert_eq!(Checkpoint::open(&twice, &keys), Ok(checkpoint()));
    assert_eq!(Checkpoint::open(&note, &public(&[&key(2)])), Err(CheckpointError::Unsigned));
    let unnamed = Checkpoint { origin: "a+b".into(), ..checkpoint() };
    assert_eq!(unnamed.sign(&key(1)), Err(CheckpointError::Origin("a+b".into())));
}

#[test]
fn verifier_keys_are_those_that_others_write() {
    let keys = public(&[&key(1)]);
    let line = verifier_keys("approvals.example.com", &keys).pop().unwrap();
    let (name, read) = read_verifier_key(&line).unwrap();
    assert_eq!((name.as_str(), verifier_keys(&name, &read)), ("approvals.example.com", vec![line.clone()]));
    let their = ed25519_line(&key(1));
    assert_eq!(line, their);
    for wrong in ["", "a+b", &line.replace("approvals", "other"), &line.replace("+A", "+B"), "a+00000000+AQ=="] {
        assert_eq!(read_verifier_key(wrong).err(), Some(CheckpointError::VerifierKey), "{wrong}");
    }
}

fn ed25519_line(key: &PrivateKey) -> String {
    let bytes = key.public_bytes();
    let id = signed_note::key_id("approvals.example.com", &[&[1], &bytes[..]].concat());
    format!("approvals.example.com+{id:08x}+{}", b64(&[&[1], &bytes[..]].concat()))
}

proptest! {
    #[test]
    fn another_implementation_makes_and_takes_the_same(origin in "[a-z./-]{1,40}", size: u64, root: [u8; 32], seed: [u8; 32]) {
        let ours = Checkpoint { origin: origin.clone(), size, root: Hash::from_bytes(root) };
        let key = PrivateKey::from_seed(&seed);
        let keys = public(&[&key]);
        let note = ours.sign(&key).unwrap();

        let verifier = StandardVerifier::new(&verifier_keys(&origin, &keys)[0]).unwrap();
        let mut theirs = Note::from_bytes(note.as_bytes()).unwrap();
        let (verified, others) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        prop_assert_eq!((verified.len(), others.len()), (1, 0));
        let text = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
        prop_assert_eq!((text.origin(), text.size(), text.hash().0), (&*origin, size, root));

        let public = key.public_bytes();
        let id = signed_note::key_id(&origin, &[&[1], &public[..]].concat());
        let signer = format!("PRIVATE+KEY+{origin}+{id:08x}+{}", b64(&[&[1], &seed[..]].concat()));
        theirs.add_sigs(&[&StandardSigner::new(&signer).unwrap()]).unwrap();
        let made = String::from_utf8(theirs.to_bytes()).unwrap();
        prop_assert_eq!(&made, &note);
        prop_assert_eq!(Checkpoint::open(&made, &keys), Ok(ours));
    }

    #[test]
    fn no_text_breaks_the_reader(note in "(a\n|1\n|— |[a-z+ =\n]{0,9}|AAAAAAAAAA==\n|\n){0,20}") {
        prop_assert!(Checkpoint::open(&note, &public(&[&key(1)])).is_err());
    }
}
