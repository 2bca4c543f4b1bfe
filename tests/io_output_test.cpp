#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4::io;
using scratch::refusal;
using scratch::slurp;
using scratch::spill;

namespace {

/// A file of one's own may hold `bytes` at most while this lives; a write beyond fails.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

/// Runs `act` with descriptor `fd` pointing at `path`.
template <class Act>
void redirected(int fd, const std::string& path, int flags, Act act) {
  const int before = ::dup(fd), file = ::open(path.c_str(), flags, 0666);
  ::dup2(file, fd);
  act();
  ::dup2(before, fd);
  ::close(before);
  ::close(file);
}

}  // namespace

TEST_CASE("output: whole at commit and not before") {
  const scratch::Folder folder;
  const std::string path = folder / "a.txt";
  {
    OutputFile out(path, Overwrite::no);
    out.write("one two");
    out.seek(0);
    out.write("ONE");
    CHECK(out.tell() == 3);
    CHECK(out.size() == 7);
    CHECK(!std::filesystem::exists(path));
    out.commit();
    CHECK(slurp(path) == "ONE two");
  }
  CHECK(slurp(path) == "ONE two");
  CHECK(folder.entries() == 1);
}

TEST_CASE("output: an abandoned file leaves the old one or none") {
  const scratch::Folder folder;
  spill(folder / "old", "old");
  const auto abandon = [&](const std::string& name) {
    try {
      OutputFile out(folder / name, Overwrite::yes);
      out.write("new");
      throw 1;
    } catch (int) {
    }
  };
  abandon("old");
  abandon("none");
  CHECK(slurp(folder / "old") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("output: an existing file is refused unless it may be overwritten") {
  const scratch::Folder folder;
  const std::string path = folder / "a.txt";
  spill(path, "old");
  const std::string found = refusal([&] { write_text(path, "new", Overwrite::no); });
  CHECK(found.starts_with(path + ": output: expected no file of that name"));
  CHECK(slurp(path) == "old");
  write_text(path, "new", Overwrite::yes);
  CHECK(slurp(path) == "new");
  CHECK(folder.entries() == 1);
}

TEST_CASE("output: a file that appears meanwhile is not replaced") {
  const scratch::Folder folder;
  OutputFile out(folder / "a.txt", Overwrite::no);
  out.write("ours");
  spill(folder / "a.txt", "theirs");
  CHECK(refusal([&] { out.commit(); }).find("File exists") != std::string::npos);
  CHECK(slurp(folder / "a.txt") == "theirs");
}

TEST_CASE("output: two writers of one folder do not meet") {
  const scratch::Folder folder;
  OutputFile one(folder / "a", Overwrite::yes), two(folder / "a", Overwrite::yes);
  one.write("one");
  two.write("two");
  one.commit();
  two.commit();
  CHECK(slurp(folder / "a") == "two");
  CHECK(folder.entries() == 1);
}

TEST_CASE("output: places where no file can be") {
  const scratch::Folder folder;
  std::filesystem::create_directory(folder / "d");
  CHECK(refusal([&] { OutputFile(folder / "d", Overwrite::yes); }).find("found a directory") !=
        std::string::npos);
  CHECK(refusal([&] { OutputFile(folder / "none/a", Overwrite::no); }).find("No such file") !=
        std::string::npos);
  CHECK(refusal([&] { OutputFile("", Overwrite::no); }) != "");
}

TEST_CASE("output: a link is written through") {
  const scratch::Folder folder;
  spill(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  write_text(folder / "link", "new", Overwrite::yes);
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(slurp(folder / "real") == "new");
}

TEST_CASE("output: the mode is that of any new file") {
  const scratch::Folder folder;
  write_text(folder / "a", "x", Overwrite::no);
  spill(folder / "b", "x");
  CHECK(std::filesystem::status(folder / "a").permissions() ==
        std::filesystem::status(folder / "b").permissions());
}

TEST_CASE("output: a failing disk leaves no file behind") {
  const scratch::Folder folder;
  const std::vector<std::byte> bytes(1 << 16);
  const ArrayView array{{"a", ElementType::u8, {1 << 16}}, bytes};
  const FileSizeLimit limit(4096);
  for (const char* name : {"a.npz", "a.safetensors"}) {
    const std::string found = refusal([&] { write_arrays(folder / name, {&array, 1}, Overwrite::no); });
    CHECK(found.find("File too large") != std::string::npos);
    CHECK(found.find(name) != std::string::npos);
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("output: a minus is stdout and a device is written in place") {
  const scratch::Folder folder;
  redirected(STDOUT_FILENO, folder / "out", O_CREAT | O_WRONLY,
             [] { write_text("-", "to stdout", Overwrite::no); });
  CHECK(slurp(folder / "out") == "to stdout");
  write_text("/dev/null", "gone", Overwrite::no);
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK(refusal([] { write_text("/dev/full", "x", Overwrite::no); }).find("No space left") !=
        std::string::npos);
}

TEST_CASE("input: a minus is stdin and a pipe is read to its end or limit") {
  const scratch::Folder folder;
  spill(folder / "in", "from stdin");
  redirected(STDIN_FILENO, folder / "in", O_RDONLY, [] {
    const Bytes bytes = read_bytes("-");
    CHECK(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) == "from stdin");
  });
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(::write(ends[1], "12345", 5) == 5);
  ::close(ends[1]);
  const std::string path = "/proc/self/fd/" + std::to_string(ends[0]);
  if (!std::filesystem::exists(path)) {
    MESSAGE("not run: no /proc");
  } else {
    CHECK(refusal([&] { read_bytes(path, 4); }).find("pipe: expected at most 4 bytes, found more") !=
          std::string::npos);
  }
  ::close(ends[0]);
}

TEST_CASE("input: what is no file is refused") {
  const scratch::Folder folder;
  CHECK(refusal([&] { read_bytes(folder / "none"); }).find("found No such file or directory") !=
        std::string::npos);
  CHECK(refusal([&] { read_bytes(folder / ""); }).find("found a directory") != std::string::npos);
  spill(folder / "empty", "");
  CHECK(read_bytes(folder / "empty").size() == 0);
  CHECK(refusal([&] { open_arrays(folder / "empty"); }).find("found an empty file") != std::string::npos);
}

TEST_CASE("errors: one printable line whatever is in it") {
  const FileError error("a\nb", "tensor '\x1B[31m'", "x", "\xC3\x28 and é" + std::string(1000, 'y'));
  const std::string line = error.what();
  CHECK(line.starts_with("a\\x0Ab: tensor '\\x1B[31m': expected x, found \\xC3( and é"));
  CHECK(line.size() < 300);
  CHECK(line.ends_with("..."));
}

TEST_CASE("sha256: the examples of FIPS 180-2") {
  CHECK(sha256({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(scratch::bytes("abc").view()) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const scratch::Folder folder;
  spill(folder / "a million", std::string(1'000'000, 'a'));
  const Bytes mapped = read_bytes(folder / "a million");
  for (const std::string& digest :
       {sha256(mapped.view()), sha256_by_pieces(mapped), sha256_by_pieces(mapped)})
    CHECK(digest == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
