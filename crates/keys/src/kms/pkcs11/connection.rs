//! The connection to a token: one logged-in session, made anew when it was lost.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::kms::private_file;
use crate::{KeyError, sha256};

/// A PIN file of more bytes is none.
const MAX_PIN_BYTES: usize = 256;

/// A token and the session with it.
pub(super) struct Token {
    module: PathBuf,
    name: String,
    pin_file: PathBuf,
    pub(super) label: String,
    /// One session, since a key is wrapped a few times a day.
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    session: Option<Session>,
    /// Hash of a PIN that the token refused. It is not tried twice: tokens lock themselves after a few wrong ones.
    refused: Option<[u8; 32]>,
}

/// What failed: a call into the module, or all that is known already.
pub(super) enum Failure {
    Call(Error),
    Known(KeyError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Known(error)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("module", &self.module).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Token {
    pub(super) fn new(module: &Path, name: &str, pin_file: &Path, label: &str) -> Self {
        Self {
            module: module.to_owned(),
            name: name.to_owned(),
            pin_file: pin_file.to_owned(),
            label: label.to_owned(),
            connection: Mutex::default(),
        }
    }

    /// Works in the session, or in a new one when it was lost. One in which something failed is not used again.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Session) -> Result<T, Failure>) -> Result<T, KeyError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match connection.session.take().filter(is_alive) {
            Some(session) => session,
            None => self.connect(&mut connection)?,
        };
        let value = work(&session).map_err(|failure| match failure {
            Failure::Known(error) => error,
            Failure::Call(error) => self.problem(&format!("{error}: see the token's own log")),
        })?;
        connection.session = Some(session);
        Ok(value)
    }

    fn connect(&self, connection: &mut Connection) -> Result<Session, KeyError> {
        let pin = private_file::read_line(&self.pin_file, MAX_PIN_BYTES)
            .map_err(|error| error.of(format!("PIN file {}", self.pin_file.display())))?;
        let (hash, file) = (sha256(pin.as_bytes()), self.pin_file.display());
        let wrong = || self.problem(&format!("the PIN in {file} is wrong: correct it before the token locks itself"));
        if connection.refused == Some(hash) {
            return Err(wrong());
        }
        match self.log_in(pin) {
            Ok(session) => Ok(session),
            Err(Failure::Known(error)) => Err(error),
            Err(Failure::Call(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            ))) => {
                connection.refused = Some(hash);
                Err(wrong())
            }
            Err(Failure::Call(Error::Pkcs11(RvError::PinLocked, _))) => {
                Err(self.problem("its PIN is locked: let its security officer set a new one"))
            }
            Err(Failure::Call(error)) => Err(self.problem(&format!("{error}: is the token ready for this user?"))),
        }
    }

    fn log_in(&self, mut pin: Zeroizing<String>) -> Result<Session, Failure> {
        let module = self.module.display();
        if !self.module.is_file() {
            let text = format!("there is no module {module}: install the token's PKCS#11 library and give its path");
            return Err(self.problem(&text).into());
        }
        let context = Pkcs11::new(&self.module)
            .map_err(|error| self.problem(&format!("{module} is no PKCS#11 library ({error}): give another path")))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // By another provider of this process.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut slots = Vec::new();
        for slot in context.get_slots_with_initialized_token()? {
            if context.get_token_info(slot)?.label() == self.name {
                slots.push(slot);
            }
        }
        let [slot] = slots[..] else {
            let text = format!("{module} has {} tokens of this label: make it, or give the label of one", slots.len());
            return Err(self.problem(&text).into());
        };
        let can = context.get_mechanism_list(slot)?;
        if ![MechanismType::AES_KEY_GEN, MechanismType::AES_GCM].iter().all(|needed| can.contains(needed)) {
            return Err(self.problem("it cannot make AES keys and use them in GCM: take another token").into());
        }
        let session = context.open_rw_session(slot)?;
        match session.login(UserType::User, Some(&AuthPin::from(std::mem::take(&mut *pin)))) {
            // By another session of this process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn described(&self) -> String {
        format!("PKCS#11 token {}", self.name)
    }

    pub(super) fn problem(&self, problem: &str) -> KeyError {
        KeyError::Provider { provider: self.described(), problem: problem.to_owned() }
    }
}

/// Asked before each use: the token may have been pulled or restarted, and to a session that somebody else logged out, keys
/// look as if there were none.
fn is_alive(session: &Session) -> bool {
    session.get_session_info().is_ok_and(|about| matches!(about.session_state(), SessionState::RwUser))
}
