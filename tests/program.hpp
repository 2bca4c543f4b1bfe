#pragma once
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

/// Runs the built program as a shell would.
namespace program {

using Arguments = std::vector<std::string>;

inline Arguments operator+(Arguments list, const Arguments& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

struct Ran {
  int exit_code = -1;
  std::string out, err;
};

struct Surroundings {
  std::string in = "/dev/null";
  std::string out = "";  ///< a device instead of Ran::out
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin",
                                          "OMP_WAIT_POLICY=passive"};  // see CMakeLists.txt
};

inline std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

inline Ran run(const Arguments& arguments, Surroundings around = {}) {
  const scratch::Folder folder;
  Arguments command{NVFP4_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const std::string out = around.out.empty() ? folder / "out" : around.out, err = folder / "err";
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, 0, around.in.c_str(), O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT | O_NOCTTY, 0600);
  ::posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, NVFP4_PROGRAM, &files, nullptr, pointers(command).data(),
                                  pointers(around.environment).data());
  ::posix_spawn_file_actions_destroy(&files);
  int status = -1;
  if (error || ::waitpid(child, &status, 0) != child) throw std::runtime_error("cannot run " NVFP4_PROGRAM);
  Ran ran;
  if (WIFEXITED(status)) ran.exit_code = WEXITSTATUS(status);
  if (around.out.empty()) ran.out = scratch::slurp(out);
  ran.err = scratch::slurp(err);
  return ran;
}

/// What --json prints, checked to be one object and alone; an empty value where it is not.
inline nlohmann::json json_of(const Ran& ran) {
  nlohmann::json json = nlohmann::json::parse(ran.out, nullptr, false);
  return json.is_object() ? json : nlohmann::json();
}

inline nlohmann::json json(Arguments arguments) {
  arguments.push_back("--json");
  return json_of(run(std::move(arguments)));
}

/// Exit 2, nothing on stdout and one line on stderr: that line; else what was wrong with it.
inline std::string refusal(Arguments arguments, Surroundings around = {}) {
  const Ran ran = run(std::move(arguments), std::move(around));
  if (ran.exit_code != 2) return "exit " + std::to_string(ran.exit_code);
  if (!ran.out.empty()) return "stdout is not empty";
  if (std::count(ran.err.begin(), ran.err.end(), '\n') != 1 || !ran.err.ends_with('\n'))
    return "not one line";
  if (!ran.err.starts_with("nvfp4: ")) return "no name before the message";
  return ran.err;
}

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// A folder with x.npy, of every sign and many exponents, and the command that makes q.npz of it.
struct Input {
  Input(std::int64_t rows, std::int64_t cols) : x(rows, cols) {
    for (std::int64_t i = 0; i < rows * cols; ++i)
      x.f32()[i] = std::ldexp(static_cast<float>(i * 7919 % 10007) - 5003, static_cast<int>(i % 23) - 11);
    nvfp4::io::write_matrix(folder / "x.npy", x.view(), nvfp4::io::Overwrite::no);
  }
  Arguments quantize(const std::string& out = "q.npz") const {
    return {"quantize", folder / "x.npy", "-o", folder / out};
  }
  scratch::Folder folder;
  nvfp4::Matrix x;
};

/// With q.npz, and dy.npy that makes a layer of x and itself.
struct Quantized : Input {
  explicit Quantized(std::int64_t rows = 37, std::int64_t cols = 52) : Input(rows, cols) {
    nvfp4::io::write_matrix(folder / "dy.npy", nvfp4::Matrix(rows, rows).view(), nvfp4::io::Overwrite::no);
    if (run(quantize()).exit_code != 0) throw std::runtime_error("quantize failed");
  }
};

}  // namespace program
