//! What only a real HAProxy can say. Without one these tests fail.

mod bench;
mod supervisor;

