using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace EphemeralFs.Tests.Mount;

/// <summary>What became of a program that was run.</summary>
/// <param name="ExitCode">Its exit code; -1 if it had to be killed.</param>
/// <param name="Output">Standard output and standard error together, as they came.</param>
public sealed record CommandResult(string CommandLine, int ExitCode, string Output, TimeSpan Elapsed, bool TimedOut)
{
    private const int MaxShown = 12_000;

    /// <summary>Everything that a reader of a failed test needs.</summary>
    public string Describe()
    {
        string output = Output.Length <= MaxShown ? Output : $"{Output[..(MaxShown / 2)]}\n… ({Output.Length - MaxShown} characters left out) …\n{Output[^(MaxShown / 2)..]}";
        string end = TimedOut ? "was killed when its time was up" : $"ended with exit code {ExitCode}";
        return string.Create(CultureInfo.InvariantCulture, $"{CommandLine}\n{end} after {Elapsed.TotalSeconds:f1} s; its output:\n{output}");
    }

    /// <summary>The output, or a failed test if the program failed.</summary>
    public string MustSucceed()
    {
        Assert.True(ExitCode == 0 && !TimedOut, Describe());
        return Output;
    }
}

/// <summary>An unmodified program, run in a directory with a bounded time and an environment in which its results depend on its input alone.</summary>
public sealed class Command
{
    private static readonly TimeSpan AfterKill = TimeSpan.FromSeconds(20);

    private readonly ProcessStartInfo start;
    private readonly TimeSpan timeout;

    /// <param name="seconds">After so many seconds the program and all that it started are killed, and the test has failed.</param>
    public Command(string directory, int seconds, string program, params string[] arguments)
    {
        timeout = TimeSpan.FromSeconds(seconds);
        start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
        };
        foreach (var (name, value) in new Dictionary<string, string>
        {
            ["LC_ALL"] = "C.UTF-8",
            ["TZ"] = "UTC",
            ["HOME"] = "/nonexistent",
            ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ["GIT_CONFIG_NOSYSTEM"] = "1",
            ["GIT_AUTHOR_NAME"] = "A", ["GIT_AUTHOR_EMAIL"] = "a@example.org", ["GIT_AUTHOR_DATE"] = "2001-02-03T04:05:06Z",
            ["GIT_COMMITTER_NAME"] = "C", ["GIT_COMMITTER_EMAIL"] = "c@example.org", ["GIT_COMMITTER_DATE"] = "2001-02-03T04:05:06Z",
        })
        {
            start.Environment[name] = value;
        }
        foreach (string name in new[] { "MAKEFLAGS", "MFLAGS", "MAKELEVEL" })
        {
            // 'make test' has started these tests: a make in one of them is no part of that.
            start.Environment.Remove(name);
        }
    }

    /// <summary>A bash script that stops at the first failure; <paramref name="seconds"/> for all of it.</summary>
    public static CommandResult Script(string directory, int seconds, string script) =>
        new Command(directory, seconds, "/bin/bash", "-c", $"set -euo pipefail\n{script}").Run();

    public Command With(string variable, string value)
    {
        start.Environment[variable] = value;
        return this;
    }

    public Running Start() => new(Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start"), Line, timeout);

    public CommandResult Run()
    {
        using var running = Start();
        running.Process.StandardInput.Close();
        return running.Wait();
    }

    private string Line => $"(cd {start.WorkingDirectory}; {start.FileName} {string.Join(' ', start.ArgumentList)})";

    /// <summary>A program that runs. Disposing kills it with all that it started, if it still runs.</summary>
    public sealed class Running : IDisposable
    {
        private readonly string line;
        private readonly TimeSpan timeout;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly StringBuilder output = new();

        internal Running(Process process, string line, TimeSpan timeout)
        {
            Process = process;
            this.line = line;
            this.timeout = timeout;
            process.OutputDataReceived += Add;
            process.ErrorDataReceived += Add;
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
        }

        public Process Process { get; }

        /// <summary>Waits until the program has printed a line; a failed test when it ends, or its time is up, without.</summary>
        public void WaitForOutput(string expected) => WaitForLine(expected, line => line == expected);

        /// <summary>The first line that begins so, as <see cref="WaitForOutput"/>.</summary>
        public string WaitForLineThatBeginsWith(string prefix) => WaitForLine(prefix, line => line.StartsWith(prefix, StringComparison.Ordinal));

        private string WaitForLine(string expected, Func<string, bool> fits)
        {
            bool ended;
            do
            {
                // Looked at in this order: what it printed before its end still counts.
                ended = Process.HasExited || clock.Elapsed > timeout;
                lock (output)
                {
                    // What is behind the last newline is not a whole line yet.
                    if (output.ToString().Split('\n').SkipLast(1).FirstOrDefault(fits) is { } line)
                    {
                        return line;
                    }
                }
                Thread.Sleep(1);
            }
            while (!ended);
            Assert.Fail($"no line '{expected}': {Wait().Describe()}");
            throw new InvalidOperationException("not reached");
        }

        /// <summary>Waits until the program ends or its time is up.</summary>
        public CommandResult Wait()
        {
            var left = timeout - clock.Elapsed;
            bool ended = left > TimeSpan.Zero && Process.WaitForExit(left);
            if (!ended)
            {
                Process.Kill(entireProcessTree: true);
                if (!Process.WaitForExit(AfterKill))
                {
                    Add(Process, $"(not even dead {AfterKill.TotalSeconds} s after SIGKILL: it hangs inside the kernel)");
                }
            }
            else
            {
                // The pipes may be held open by something it left behind; what came so far is enough then.
                Task.Run(Process.WaitForExit).Wait(AfterKill);
            }
            lock (output)
            {
                return new CommandResult(line, ended ? Process.ExitCode : -1, output.ToString(), clock.Elapsed, TimedOut: !ended);
            }
        }

        public void Dispose()
        {
            if (!Process.HasExited)
            {
                Process.Kill(entireProcessTree: true);
                Process.WaitForExit(AfterKill);
            }
            Process.Dispose();
        }

        private void Add(object sender, DataReceivedEventArgs line) => Add(sender, line.Data);

        private void Add(object sender, string? text)
        {
            if (text is not null)
            {
                lock (output)
                {
                    output.Append(text).Append('\n');
                }
            }
        }
    }
}
