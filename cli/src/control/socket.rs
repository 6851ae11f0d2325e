//! The file of a Unix socket: made with its permissions, removed when nobody answers on it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket's file, removed when this is dropped, unless it is another one by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Inode and when that last changed: inodes are used again.
    identity: (u64, i64, i64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| identity(&found) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // Whoever starts next removes what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket that nobody but those whom `mode` names can connect to, from the first moment: it
/// comes into being under another name, and gets its own when its permissions are right.
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    let finished = fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| fs::symlink_metadata(path));
    let found = finished.inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })?;
    listener.set_nonblocking(true)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity: identity(&found) }))
}

fn identity(found: &fs::Metadata) -> (u64, i64, i64) {
    (found.ino(), found.ctime(), found.ctime_nsec())
}

/// Removes a socket that nobody answers on. Anything else at the path is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "this is no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process answers there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (listener, file) = bind(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        // The process dies: the file stays.
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        let (_listener, file) = bind(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(file);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "mine").unwrap();
        assert_eq!(bind(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_successor_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (listener, first) = bind(&path, 0o600).unwrap();
        drop(listener);
        let (_listener, _second) = bind(&path, 0o600).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
