#pragma once
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/scratch.hpp"

/// Runs the built program as a shell would.
namespace program {

struct Ran {
  int exit_code = -1;
  std::string out, err;
};

struct Surroundings {
  std::string in = "/dev/null";
  std::string out = "";  ///< a device instead of Ran::out
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin"};
};

inline std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

inline Ran run(std::vector<std::string> arguments, Surroundings around = {}) {
  const scratch::Folder folder;
  arguments.insert(arguments.begin(), NVFP4_PROGRAM);
  const std::string out = around.out.empty() ? folder / "out" : around.out, err = folder / "err";
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, 0, around.in.c_str(), O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT | O_NOCTTY, 0600);
  ::posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, NVFP4_PROGRAM, &files, nullptr, pointers(arguments).data(),
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

inline nlohmann::json json(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  return json_of(run(std::move(arguments)));
}

/// Exit 2, nothing on stdout and one line on stderr: that line; else what was wrong with it.
inline std::string refusal(std::vector<std::string> arguments, Surroundings around = {}) {
  const Ran ran = run(std::move(arguments), std::move(around));
  if (ran.exit_code != 2) return "exit " + std::to_string(ran.exit_code);
  if (!ran.out.empty()) return "stdout is not empty";
  if (std::count(ran.err.begin(), ran.err.end(), '\n') != 1 || !ran.err.ends_with('\n'))
    return "not one line";
  if (!ran.err.starts_with("nvfp4: ")) return "no name before the message";
  return ran.err;
}

}  // namespace program
