//! The output of a process so far.

use std::{
    io::Read,
    sync::{Arc, Mutex},
};

#[derive(Debug, Clone, Default)]
pub struct OutputLog(Arc<Mutex<Vec<u8>>>);

impl OutputLog {
    pub fn read_from(&self, mut pipe: impl Read + Send + 'static) {
        let events = self.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut bytes) {
                events.0.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}
