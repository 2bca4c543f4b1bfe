#include <nvfp4/io/output.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <nvfp4/io/error.hpp>

#include "descriptor.hpp"

namespace nvfp4::io {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const std::string& path, std::string_view expected) {
  throw FileError(path, "output", expected, std::strerror(errno));
}

/// A nameless file, gone when closed.
int open_spool(const std::string& path) {
  std::FILE* file = std::tmpfile();
  if (!file) fail(path, "a temporary file");
  const int fd = ::fcntl(::fileno(file), F_DUPFD_CLOEXEC, 0);
  std::fclose(file);
  if (fd < 0) fail(path, "a temporary file");
  return fd;
}

/// Beside the target, so that the rename stays on one file system.
std::pair<int, std::string> open_beside(const std::string& path, const fs::path& target) {
  for (int attempt = 0;; ++attempt) {
    const std::string unique = "." + std::to_string(::getpid()) + "-" + std::to_string(attempt) + ".tmp";
    const fs::path name = target.parent_path() / ("." + target.filename().string().substr(0, 200) + unique);
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return {fd, name.string()};
    if (errno != EEXIST) fail(path, "a folder that can be written");
  }
}

void write_all(int fd, const std::byte* data, std::size_t size, const std::string& path) {
  while (size) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, std::to_string(size) + " more bytes to be written");
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

void copy(int from, int to, const std::string& path) {
  std::array<std::byte, 1 << 16> piece;
  for (off_t offset = 0;;) {
    const ssize_t n = ::pread(from, piece.data(), piece.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "the spooled bytes back");
    if (n == 0) return;
    write_all(to, piece.data(), static_cast<std::size_t>(n), path);
    offset += n;
  }
}

/// link() never replaces a file; file systems without it get rename(), and a window between check and act.
bool rename_to_new(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return ::unlink(from.c_str()) == 0;
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) return false;
  if (fs::exists(to)) return errno = EEXIST, false;
  return ::rename(from.c_str(), to.c_str()) == 0;
}

}  // namespace

OutputFile::OutputFile(std::string path, Overwrite overwrite)
    : path_(std::move(path)), overwrite_(overwrite) {
  if (path_.empty()) throw FileError("''", "output", "the name of a file", "none");
  std::error_code ignored;
  const fs::path resolved = fs::canonical(path_, ignored);  // through links, so that a link stays one
  target_ = resolved.empty() ? path_ : resolved.string();
  const fs::file_status status = fs::status(target_, ignored);
  if (path_ == "-" || (fs::exists(status) && fs::is_other(status))) {
    fd_ = open_spool(path_);
    return;
  }
  if (fs::is_directory(status)) throw FileError(path_, "output", "a file to write", "a directory");
  if (fs::exists(status) && overwrite == Overwrite::no)
    throw FileError(path_, "output", "no file of that name, or leave to overwrite it", "one that exists");
  std::tie(fd_, temporary_) = open_beside(path_, target_);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      overwrite_(other.overwrite_),
      fd_(std::exchange(other.fd_, -1)),
      offset_(other.offset_),
      size_(other.size_) {}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail(path_, std::to_string(bytes.size()) + " bytes to be written at byte " + std::to_string(offset_));
    offset_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  size_ = std::max(size_, offset_);
}

void OutputFile::commit() {
  if (temporary_.empty()) {
    if (path_ == "-") return copy(fd_, STDOUT_FILENO, path_);
    const Descriptor out(::open(target_.c_str(), O_WRONLY | O_CLOEXEC));
    if (out.fd < 0) fail(path_, "a pipe or device that can be written");
    return copy(fd_, out.fd, path_);
  }
  if (::fsync(fd_) < 0) fail(path_, "bytes that reach the disk");
  const bool renamed = overwrite_ == Overwrite::yes ? ::rename(temporary_.c_str(), target_.c_str()) == 0
                                                    : rename_to_new(temporary_, target_);
  if (!renamed) fail(path_, "a file that can be put in place");
  temporary_.clear();
  const fs::path folder = fs::path(target_).parent_path();
  sync_folder(folder.empty() ? "." : folder.string());
}

void write_text(const std::string& path, std::string_view text, Overwrite overwrite) {
  OutputFile out(path, overwrite);
  out.write(text);
  out.commit();
}

}  // namespace nvfp4::io
