//! What the two ends of a connection prove to each other. Each message is one packet:
//!
//! 1. the listener greets: protocol, version, a random challenge;
//! 2. the client answers: the same, and its proof that it knows the key;
//! 3. the listener decides: its own proof, or why it refuses.
//!
//! A proof is the HMAC of both challenges, under the key, with the name of the prover. So neither a second use of a
//! proof nor a use by the other end is accepted. This file reads and writes no socket.

use std::fmt;
use std::time::Duration;

use hmac_sha256::HMAC;

use super::error::ConnectError;

/// How long a handshake may last, unless the user sets it.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first bytes of a greeting and of an answer.
const PROTOCOL: [u8; 8] = *b"cf-pipe\0";

/// Increased with each change of these messages, of the packets of a pipe, or of the encoding of values.
const VERSION: u16 = 1;

const CHALLENGE: usize = 32;
const PROOF: usize = 32;

const GREETING: usize = PROTOCOL.len() + 2 + CHALLENGE;
const ANSWER: usize = GREETING + PROOF;

/// A buffer for the longest message. A packet that fills it is too long.
pub(super) const LONGEST: usize = ANSWER + 1;

/// The first byte of a decision.
const ACCEPTED: u8 = 0;
const WRONG_KEY: u8 = 1;
const OTHER_USER: u8 = 2;
const OTHER_VERSION: u8 = 3;

pub(super) type Challenge = [u8; CHALLENGE];
type Proof = [u8; PROOF];

/// The key, which both ends know.
#[derive(Clone)]
pub(super) struct Key(Box<[u8]>);

/// Why a listener refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientRefusal {
    WrongKey,
    OtherUser,
    OtherVersion,
}

/// Which end proves something.
#[derive(Clone, Copy, Debug)]
enum Prover {
    Listener,
    Client,
}

/// The challenges of both ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenges {
    pub(super) listener: Challenge,
    pub(super) client: Challenge,
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Result<Self, ConnectError> {
        if key.is_empty() {
            return Err(ConnectError::empty_key());
        }
        Ok(Self(key.into()))
    }

    fn mac(&self, prover: Prover, challenges: &Challenges) -> HMAC {
        let mut mac = HMAC::new(&self.0);
        mac.update(match prover {
            Prover::Listener => b"listener",
            Prover::Client => b"client\0\0",
        });
        mac.update(VERSION.to_le_bytes());
        mac.update(challenges.listener);
        mac.update(challenges.client);
        mac
    }

    fn prove(&self, prover: Prover, challenges: &Challenges) -> Proof {
        self.mac(prover, challenges).finalize()
    }

    /// Takes the same time for every proof.
    fn holds(&self, prover: Prover, challenges: &Challenges, proof: &Proof) -> bool {
        self.mac(prover, challenges).finalize_verify(proof)
    }
}

/// Does not show the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The listener's first message.
pub(super) fn greeting(challenge: &Challenge) -> Vec<u8> {
    [&PROTOCOL[..], &VERSION.to_le_bytes(), challenge].concat()
}

/// Checks the listener's first message. Returns its challenge.
pub(super) fn check_greeting(greeting: &[u8]) -> Result<Challenge, ConnectError> {
    match greeting {
        [OTHER_USER] => Err(ConnectError::OTHER_USER),
        greeting => read_greeting(greeting).ok_or(ConnectError::OTHER_VERSION),
    }
}

/// The challenge in a greeting. `None` if the greeting is of another protocol.
fn read_greeting(greeting: &[u8]) -> Option<Challenge> {
    let challenge = greeting.strip_prefix(&PROTOCOL)?;
    let challenge = challenge.strip_prefix(&VERSION.to_le_bytes())?;
    challenge.try_into().ok()
}

/// The client's message.
pub(super) fn answer(key: &Key, challenges: &Challenges) -> Vec<u8> {
    let mut answer = greeting(&challenges.client);
    answer.extend(key.prove(Prover::Client, challenges));
    answer
}

/// Checks the client's message. Returns the decision that accepts it.
pub(super) fn check_answer(
    key: &Key,
    listener: Challenge,
    answer: &[u8],
) -> Result<Vec<u8>, ClientRefusal> {
    let parts = answer.split_at_checked(GREETING);
    let (client, proof) = parts.ok_or(ClientRefusal::OtherVersion)?;
    let client = read_greeting(client).ok_or(ClientRefusal::OtherVersion)?;
    let proof = proof.try_into().map_err(|_| ClientRefusal::OtherVersion)?;
    let challenges = Challenges { listener, client };
    if !key.holds(Prover::Client, &challenges, proof) {
        return Err(ClientRefusal::WrongKey);
    }
    let mut decision = vec![ACCEPTED];
    decision.extend(key.prove(Prover::Listener, &challenges));
    Ok(decision)
}

impl ClientRefusal {
    /// The decision that refuses a client.
    pub(super) fn decision(self) -> [u8; 1] {
        [match self {
            Self::WrongKey => WRONG_KEY,
            Self::OtherUser => OTHER_USER,
            Self::OtherVersion => OTHER_VERSION,
        }]
    }
}

/// Checks the listener's decision.
pub(super) fn check_decision(
    key: &Key,
    challenges: &Challenges,
    decision: &[u8],
) -> Result<(), ConnectError> {
    Err(match decision {
        [ACCEPTED, proof @ ..] => match proof.try_into() {
            Ok(proof) if key.holds(Prover::Listener, challenges, proof) => return Ok(()),
            Ok(_) => ConnectError::WRONG_KEY,
            Err(_) => ConnectError::OTHER_VERSION,
        },
        [WRONG_KEY] => ConnectError::WRONG_KEY,
        [OTHER_USER] => ConnectError::OTHER_USER,
        _ => ConnectError::OTHER_VERSION,
    })
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    const CHALLENGES: Challenges = Challenges {
        listener: [1; CHALLENGE],
        client: [2; CHALLENGE],
    };

    fn key(key: &str) -> Key {
        Key::new(key.as_bytes()).expect("the key is not empty")
    }

    #[test]
    fn two_ends_with_one_key_accept_each_other() {
        let one = key("key");
        let greeting = greeting(&CHALLENGES.listener);
        assert_eq!(read_greeting(&greeting), Some(CHALLENGES.listener));
        let answer = answer(&one, &CHALLENGES);
        let decision =
            check_answer(&one, CHALLENGES.listener, &answer).expect("the client knows the key");
        check_decision(&one, &CHALLENGES, &decision).expect("the listener knows the key");
        assert!(greeting.len() < LONGEST && answer.len() < LONGEST && decision.len() < LONGEST);
        assert!(!format!("{one:?}").contains("key"));
    }

    #[test]
    fn an_end_with_another_key_is_refused_by_either() {
        let (one, other) = (key("key"), key("another"));
        let answer = answer(&other, &CHALLENGES);
        let refused = check_answer(&one, CHALLENGES.listener, &answer);
        assert_eq!(refused, Err(ClientRefusal::WrongKey));
        let decision =
            check_answer(&other, CHALLENGES.listener, &answer).expect("the client knows the key");
        let error = check_decision(&one, &CHALLENGES, &decision).expect_err("another key");
        assert!(error.is_wrong_key());
        Key::new(b"").expect_err("the key is empty");
    }

    #[test]
    fn a_proof_holds_once_and_for_one_end() {
        let one = key("key");
        let answer = answer(&one, &CHALLENGES);
        let again = check_answer(&one, [3; CHALLENGE], &answer);
        assert_eq!(
            again,
            Err(ClientRefusal::WrongKey),
            "the proof was for another challenge"
        );
        // A listener without the key sends the client's proof back.
        let echo = [&[ACCEPTED], &answer[GREETING..]].concat();
        let error =
            check_decision(&one, &CHALLENGES, &echo).expect_err("the proof is the client's");
        assert!(error.is_wrong_key());
    }

    #[test]
    fn whatever_else_arrives_is_another_version() {
        let one = key("key");
        let answer = answer(&one, &CHALLENGES);
        let decision =
            check_answer(&one, CHALLENGES.listener, &answer).expect("the client knows the key");
        let mut other = answer.clone();
        other[PROTOCOL.len()] += 1;
        let long = [&answer[..], &[0]].concat();
        for wrong in [&[][..], &answer[..ANSWER - 1], &long, &other] {
            let refused = check_answer(&one, CHALLENGES.listener, wrong);
            assert_eq!(refused, Err(ClientRefusal::OtherVersion));
            assert_eq!(read_greeting(wrong), None);
        }
        for wrong in [&[][..], &[9], &[ACCEPTED], &decision[..PROOF], &long] {
            let error =
                check_decision(&one, &CHALLENGES, wrong).expect_err("the decision is invalid");
            assert!(error.is_other_version());
        }
        for (refusal, is) in [
            (
                ClientRefusal::WrongKey,
                ConnectError::is_wrong_key as fn(&_) -> bool,
            ),
            (ClientRefusal::OtherUser, ConnectError::is_other_user),
            (ClientRefusal::OtherVersion, ConnectError::is_other_version),
        ] {
            let error = check_decision(&one, &CHALLENGES, &refusal.decision());
            assert!(is(&error.expect_err("the client is refused")));
        }
    }
}
