//! A request for unit tests, with its response.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::host::{Head, HeaderMap, Request};

/// A request and its response.
#[derive(Default)]
pub struct FakeRequest {
    headers: RefCell<BTreeMap<(Head, String), Vec<u8>>>,
    attributes: RefCell<BTreeMap<String, Vec<u8>>>,
    filter_state: RefCell<BTreeMap<String, String>>,
    routes_cleared: Cell<u32>,
}

impl FakeRequest {
    /// A request with these header fields.
    pub fn with(headers: &[(&str, &[u8])]) -> Self {
        let request = Self::default();
        for (name, value) in headers {
            request.put(Head::Request, name, value);
        }
        request
    }

    /// Sets a header field.
    pub fn put(&self, head: Head, name: &str, value: &[u8]) {
        let mut headers = self.headers.borrow_mut();
        headers.insert((head, name.to_owned()), value.to_vec());
    }

    /// Sets an attribute, its path written with dots.
    pub fn put_attribute(&self, path: &str, value: &[u8]) {
        let mut attributes = self.attributes.borrow_mut();
        attributes.insert(path.to_owned(), value.to_vec());
    }

    /// A header field as text.
    pub fn text(&self, head: Head, name: &str) -> Option<String> {
        let value = self.header(head, name)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// What was kept for the access log.
    pub fn filter_state(&self, name: &str) -> Option<String> {
        self.filter_state.borrow().get(name).cloned()
    }

    /// How often the route was looked for anew.
    pub fn routes_cleared(&self) -> u32 {
        self.routes_cleared.get()
    }
}

impl Request for FakeRequest {
    fn header_map(&self, head: Head) -> HeaderMap {
        let headers = self.headers.borrow();
        let fields = headers.iter().filter(|((of, _), _)| *of == head);
        let fields = fields.map(|((_, name), value)| (name.as_str(), value.as_slice()));
        HeaderMap::of(&fields.collect::<Vec<_>>())
    }

    fn header(&self, head: Head, name: &str) -> Option<Vec<u8>> {
        self.headers.borrow().get(&(head, name.to_owned())).cloned()
    }

    fn set_header(&self, head: Head, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.put(head, name, value.as_bytes()),
            None => {
                self.headers.borrow_mut().remove(&(head, name.to_owned()));
            }
        }
    }

    fn set_header_bytes(&self, head: Head, name: &str, value: &[u8]) {
        self.put(head, name, value);
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        let set = match path {
            // As Envoy: what was kept under a name is an attribute, too …
            [name] => self.filter_state(name).map(String::into_bytes),
            // … and so is a header.
            ["request", "headers", name] => self.header(Head::Request, name),
            _ => None,
        };
        set.or_else(|| self.attributes.borrow().get(&path.join(".")).cloned())
    }

    fn set_filter_state(&self, name: &str, value: &str) {
        let mut filter_state = self.filter_state.borrow_mut();
        filter_state.insert(name.to_owned(), value.to_owned());
    }

    fn clear_route_cache(&self) {
        self.routes_cleared.set(self.routes_cleared.get() + 1);
    }
}
