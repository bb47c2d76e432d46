//! The image as a mounted file system.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::image::{Errno, Image, Op};

/// Nobody but the kernel changes anything, so it may remember.
const TTL: Duration = Duration::from_secs(3_600);
/// The directory has the number 1, and the files follow.
const FIRST_FILE: u64 = 2;
const BLOCK_BYTES: u32 = 4_096;

/// An [`Image`] mounted on a directory. Dropped, it is unmounted.
#[derive(Debug)]
pub struct FaultFs {
    image: Arc<Mutex<Image>>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl FaultFs {
    /// Mounts `image` on the directory `at`, which is made where it is missing.
    ///
    /// # Errors
    /// Where this user may not mount, or the kernel has no FUSE.
    pub fn mount(image: Image, at: &Path) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        let image = Arc::new(Mutex::new(image));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("taskport-faults".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount2(Served(image.clone()), at, &config)?;
        Ok(Self { image, at: at.to_owned(), session: Some(session) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The contents, to look at or to make fail.
    pub fn image(&self) -> MutexGuard<'_, Image> {
        lock(&self.image)
    }

    /// Unmounts it. Whoever had a file open must be gone.
    ///
    /// # Errors
    /// Where somebody still has.
    pub fn unmount(mut self) -> io::Result<()> {
        match self.session.take().map(BackgroundSession::umount_and_join) {
            // The kernel may end its side before it is read from for the last time.
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            Some(unmounted) => unmounted,
            None => Ok(()),
        }
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        // A process that still waits for an answer would keep the mount.
        lock(&self.image).freeze();
    }
}

fn lock(image: &Mutex<Image>) -> MutexGuard<'_, Image> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the kernel.
#[derive(Debug)]
struct Served(Arc<Mutex<Image>>);

impl Served {
    fn image(&self) -> MutexGuard<'_, Image> {
        lock(&self.0)
    }
}

fn code(errno: Errno) -> fuser::Errno {
    match errno {
        Errno::Io => fuser::Errno::EIO,
        Errno::NoSpace => fuser::Errno::ENOSPC,
        Errno::TooLarge => fuser::Errno::EFBIG,
    }
}

/// The number of a file in the image.
fn node(ino: INodeNo) -> u64 {
    ino.0.saturating_sub(FIRST_FILE - 1)
}

fn ino(node: u64) -> INodeNo {
    INodeNo(node + FIRST_FILE - 1)
}

fn attributes(ino: INodeNo, kind: FileType, len: usize) -> FileAttr {
    let size = len as u64;
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let image = self.image();
        let found = image.find(&name.to_string_lossy()).and_then(|node| Some((node, image.len(node)?)));
        match found {
            Some((node, len)) => {
                reply.entry(&TTL, &attributes(ino(node), FileType::RegularFile, len), Generation(0));
            }
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if number == INodeNo::ROOT {
            return reply.attr(&TTL, &attributes(number, FileType::Directory, 0));
        }
        match self.image().len(node(number)) {
            Some(len) => reply.attr(&TTL, &attributes(number, FileType::RegularFile, len)),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut image = self.image();
        if let Some(size) = size {
            if let Err(errno) = image.admit(Op::Truncate) {
                return reply.error(code(errno));
            }
            image.set_len(node(number), at(size));
        }
        match image.len(node(number)) {
            Some(len) => reply.attr(&TTL, &attributes(number, FileType::RegularFile, len)),
            None => reply.attr(&TTL, &attributes(number, FileType::Directory, 0)),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut image = self.image();
        if let Err(errno) = image.admit(Op::Name) {
            return reply.error(code(errno));
        }
        let node = image.create(&name.to_string_lossy());
        let attributes = attributes(ino(node), FileType::RegularFile, image.len(node).unwrap_or(0));
        reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut image = self.image();
        // A page of mapped memory that cannot be read ends whoever touches it, by the rules of every Unix.
        let is_mapped = image.is_mapped(node(number));
        if !is_mapped && let Err(errno) = image.admit(Op::Read) {
            return reply.error(code(errno));
        }
        match image.read(node(number), at(offset), size as usize) {
            Some(data) => reply.data(data),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut image = self.image();
        if let Err(errno) = image.admit(Op::Write) {
            return reply.error(code(errno));
        }
        image.write(node(number), at(offset), data);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut image = self.image();
        if let Err(errno) = image.admit(Op::Sync) {
            return reply.error(code(errno));
        }
        image.sync(node(number));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut image = self.image();
        if let Err(errno) = image.admit(Op::Sync) {
            return reply.error(code(errno));
        }
        image.sync_names();
        reply.ok();
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut image = self.image();
        match image.admit(Op::Name) {
            Err(errno) => reply.error(code(errno)),
            Ok(()) if image.unlink(&name.to_string_lossy()) => reply.ok(),
            Ok(()) => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut image = self.image();
        match image.admit(Op::Name) {
            Err(errno) => reply.error(code(errno)),
            Ok(()) if image.rename(&name.to_string_lossy(), &newname.to_string_lossy()) => reply.ok(),
            Ok(()) => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let image = self.image();
        let dots = [".", ".."].map(|name| (name, INodeNo::ROOT, FileType::Directory));
        let files = image.names().map(|(name, node)| (name, ino(node), FileType::RegularFile));
        for (index, (name, number, kind)) in dots.into_iter().chain(files).enumerate().skip(at(offset)) {
            if reply.add(number, index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 24;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
