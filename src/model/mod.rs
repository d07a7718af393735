//! Containers, routes, options and problems as values.
//!
//! Pure: nothing in here reads a file, a clock or a socket.

pub mod backend_tls;
pub mod ca_index;
pub mod certificate;
pub mod client_certificate;
pub mod container;
pub mod container_ref;
pub mod flow;
pub(crate) mod host;
pub mod http;
pub mod label_option;
pub mod label_text;
pub mod malformed_http;
pub mod option_value;
pub mod path;
pub mod policy_book;
pub(crate) mod prefix;
pub mod problem;
pub mod problem_set;
pub mod route;
pub mod secret;
pub mod source_name;
pub mod stream;
pub mod tls;
pub mod world;
