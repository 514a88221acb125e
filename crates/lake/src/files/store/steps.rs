//! What a test does at each step.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

type Act = Box<dyn FnMut(&Path) + Send>;

#[derive(Default)]
pub struct Steps(Mutex<Option<Act>>);

impl Steps {
    pub fn watch(&self, act: impl FnMut(&Path) + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }

    pub fn take(&self, root: &Path) {
        if let Some(act) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            act(root);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}
