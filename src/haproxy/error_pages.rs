//! Pages that clients get where HAProxy itself answers.
//!
//! Pure. HAProxy reads a page from a file: a whole response (`errorfile`), or a body alone (`http-request return … file`)
//! where the response has further headers.

use std::{collections::BTreeMap, fmt};

/// Size of the largest page, in bytes. A response has to fit into a buffer of HAProxy (16,384 bytes), together with the
/// headers that routes add.
pub const MAX_PAGE_SIZE: usize = 15_000;

/// Statuses with which HAProxy itself answers, and their reason phrases (RFC 9110, RFC 6585).
const STATUSES: [(u16, &str); 14] = [
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (408, "Request Timeout"),
    (411, "Length Required"),
    (413, "Content Too Large"),
    (421, "Misdirected Request"),
    (429, "Too Many Requests"),
    (500, "Internal Server Error"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
];

/// Statuses that only rules answer which add headers, or for which HAProxy has no `errorfile`.
const ONLY_BODIES: [u16; 2] = [401, 411];

/// Pages of the administrator: status → HTML. HAProxy's or docker-balancer's own answer stays where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPages(BTreeMap<u16, String>);

/// Why a file is not used as a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorPageError {
    #[error(
        "HAProxy itself never answers with this status; it has pages for {}",
        format_statuses()
    )]
    UnknownStatus,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error(
        "it has {0} bytes, but a page may have {MAX_PAGE_SIZE}; put styles and pictures elsewhere"
    )]
    TooLarge(usize),
    #[error("it is empty")]
    Empty,
}

fn format_statuses() -> String {
    STATUSES.map(|(status, _)| status.to_string()).join(", ")
}

impl ErrorPages {
    /// Adds the page of a status.
    ///
    /// # Errors
    /// If HAProxy has no page for the status, or cannot use the content.
    pub fn add(&mut self, status: u16, content: Vec<u8>) -> Result<(), ErrorPageError> {
        if !STATUSES.iter().any(|(known, _)| *known == status) {
            return Err(ErrorPageError::UnknownStatus);
        }
        if MAX_PAGE_SIZE < content.len() {
            return Err(ErrorPageError::TooLarge(content.len()));
        }
        let html = String::from_utf8(content).map_err(|_| ErrorPageError::NotUtf8)?;
        if html.trim().is_empty() {
            return Err(ErrorPageError::Empty);
        }
        self.0.insert(status, html);
        Ok(())
    }

    /// Returns the files of a generation that have the pages.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, String)> {
        let responses =
            self.statuses().map(|status| (response_file(status), self.response(status)));
        responses.chain(self.0.iter().map(|(status, html)| (body_file(*status), html.clone())))
    }

    /// Returns the statuses that have an `errorfile`: those of the administrator, and those with a built-in page.
    pub(super) fn statuses(&self) -> impl Iterator<Item = u16> {
        let has_page = |status: &u16| self.0.contains_key(status) || matches!(status, 404 | 503);
        STATUSES
            .into_iter()
            .map(|(status, _)| status)
            .filter(move |status| has_page(status) && !ONLY_BODIES.contains(status))
    }

    /// Returns the pages of the administrator.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// Returns the words of a rule that answers with the page of the status, or with the text.
    pub(super) fn answer(&self, status: u16, text: &str) -> impl fmt::Display {
        let has_page = self.0.contains_key(&status);
        fmt::from_fn(move |f| {
            write!(f, "status {status} content-type ")?;
            if has_page {
                write!(
                    f,
                    "\"text/html; charset=utf-8\" file {} hdr Cache-Control no-store",
                    body_file(status)
                )
            } else {
                write!(f, "text/plain string \"{text}\\n\"")
            }
        })
    }

    /// Returns the words of a rule that answers with the page of the status, or with the status alone.
    pub(super) fn status_page(&self, status: u16) -> impl fmt::Display {
        let page = if self.0.contains_key(&status) { " default-errorfiles" } else { "" };
        fmt::from_fn(move |f| write!(f, "status {status}{page}"))
    }

    /// Returns a whole response, as `errorfile` needs it (configuration manual, section 4.2).
    fn response(&self, status: u16) -> String {
        let own = if status == 404 { NOT_FOUND } else { UNAVAILABLE };
        let body = self.0.get(&status).map_or(own.trim_end(), String::as_str);
        let phrase = STATUSES.iter().find(|(known, _)| *known == status);
        let phrase = phrase.map_or("", |(_, phrase)| phrase);
        let more = if status == 503 { "Retry-After: 2\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status} {phrase}\r\n\
             Content-Type: text/html; charset=utf-8\r\n\
             Cache-Control: no-store\r\n\
             {more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Returns the file that has the whole response.
pub(super) fn response_file(status: u16) -> String {
    format!("{status}.http")
}

fn body_file(status: u16) -> String {
    format!("{status}.html")
}

const NOT_FOUND: &str = include_str!("../../templates/404.html");
const UNAVAILABLE: &str = include_str!("../../templates/503.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_page_is_refused_with_reason() {
        let large = vec![b'x'; MAX_PAGE_SIZE + 1];
        for (status, content, expected) in [
            (200, b"x".to_vec(), ErrorPageError::UnknownStatus),
            (302, b"x".to_vec(), ErrorPageError::UnknownStatus),
            (503, large.clone(), ErrorPageError::TooLarge(MAX_PAGE_SIZE + 1)),
            (503, b"<p>\xff".to_vec(), ErrorPageError::NotUtf8),
            (503, b" \n".to_vec(), ErrorPageError::Empty),
        ] {
            let mut pages = ErrorPages::default();
            assert_eq!(pages.add(status, content), Err(expected));
            assert_eq!(pages, ErrorPages::default());
        }
        assert_eq!(ErrorPages::default().add(503, large[1..].to_vec()), Ok(()));
    }

    #[test]
    fn pages_replace_own_answers_of_their_statuses() {
        let mut pages = ErrorPages::default();
        for status in [401, 403, 404] {
            pages.add(status, format!("<p>{status}").into_bytes()).unwrap();
        }
        let files: BTreeMap<_, _> = pages.files().collect();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["401.html", "403.html", "403.http", "404.html", "404.http", "503.http"]);
        assert!(files["404.http"].ends_with("Content-Length: 6\r\n\r\n<p>404"), "{files:?}");
        assert!(files["503.http"].contains("Retry-After: 2\r\n"), "{files:?}");
        assert_eq!(
            pages.answer(401, "no").to_string(),
            "status 401 content-type \"text/html; charset=utf-8\" file 401.html hdr Cache-Control \
             no-store"
        );
        assert_eq!(
            pages.answer(429, "no").to_string(),
            "status 429 content-type text/plain string \"no\\n\""
        );
    }
}
