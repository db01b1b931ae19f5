//! A form with a file in it, as `multipart/form-data` (RFC 7578).

use std::io::{Cursor, Read};

use crate::util::units::hexadecimal;

/// A form that is ready to be sent.
pub struct Form<'a> {
    /// Its type, which names the boundary.
    pub content_type: String,
    /// All of it.
    pub body: Box<dyn Read + Send + 'a>,
    /// Its bytes.
    pub length: u64,
}

impl<'a> Form<'a> {
    /// A form of text fields and one file.
    ///
    /// # Errors
    /// When there are no random numbers for the boundary.
    pub fn new(
        fields: &[(&str, String)],
        field: &str,
        file_name: &str,
        file: impl Read + Send + 'a,
        size: u64,
    ) -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let boundary = hexadecimal(&random);
        let mut head = String::new();
        for (name, value) in fields {
            head += &format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        // As browsers escape it (the WHATWG's HTML standard, multipart/form-data encoding algorithm).
        let file_name = file_name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        head += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Ok(Self {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            length: head.len() as u64 + size + tail.len() as u64,
            body: Box::new(Cursor::new(head).chain(file.take(size)).chain(Cursor::new(tail))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_fields_its_file_and_the_length_that_it_says() {
        let fields = [("chat_id", "-100".to_owned()), ("caption", "a\nb".to_owned())];
        let mut form = Form::new(&fields, "document", "a\"b.sql", &b"content and more"[..], 7).unwrap();
        let mut text = String::new();
        form.body.read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, form.length);
        let (_, boundary) = form.content_type.split_once("boundary=").unwrap();
        let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 5);
        assert!(parts[2].ends_with("name=\"caption\"\r\n\r\na\nb\r\n"), "{text}");
        assert!(
            parts[3].contains("filename=\"a%22b.sql\"") && parts[3].ends_with("\r\n\r\ncontent\r\n"),
            "{text}"
        );
        assert_eq!(parts[4], "--\r\n");
    }
}
