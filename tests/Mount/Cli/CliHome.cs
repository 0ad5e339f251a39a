using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Tests.Model.Running;
using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>What the program did, with its two outputs apart.</summary>
/// <param name="Result">How it ended; <see cref="CommandResult.Output"/> is standard output.</param>
/// <param name="Error">Standard error.</param>
public sealed record CliResult(CommandResult Result, string Error)
{
    public int ExitCode => Result.ExitCode;

    public string Output => Result.Output;

    /// <summary>Standard output, or a failed test.</summary>
    public string MustSucceed()
    {
        Assert.True(ExitCode == 0, Describe());
        return Output;
    }

    /// <summary>A failed test unless it failed with this exit code, nothing on standard output, and one line with these words on standard error.</summary>
    public void MustFail(int exitCode, params string[] words)
    {
        Assert.True(ExitCode == exitCode, $"exit code {exitCode} expected: {Describe()}");
        Assert.True(Output.Length == 0, $"nothing expected on standard output: {Describe()}");
        Assert.True(Error.EndsWith('\n') && Error.Count(c => c == '\n') == 1 && Error.StartsWith("ephemeralfs: ", StringComparison.Ordinal), $"one line expected: {Describe()}");
        foreach (string word in words)
        {
            Assert.True(Error.Contains(word, StringComparison.Ordinal), $"'{word}' expected: {Describe()}");
        }
    }

    public string Describe() => $"{Result.Describe()}\nits standard error:\n{Error}";
}

/// <summary>
/// A directory of a test's own, with a state directory in it that does not exist yet, and the program told to use that. Disposing stops whatever
/// cluster was started there, and fails unless nothing remains of it.
/// </summary>
public sealed class CliHome : IDisposable
{
    private static readonly Lazy<string> Built = new(Build);

    private int counter;

    /// <param name="state">Name of the state directory within the home.</param>
    public CliHome(string state = "s")
    {
        _ = Built.Value;
        Home = Directory.CreateTempSubdirectory("c").FullName;
        File.SetUnixFileMode(Home, (UnixFileMode)0b111_101_101);
        State = Path.Combine(Home, state);
        Mount = MakeDirectory("m");
    }

    public string Home { get; }

    /// <summary>The state directory, which <c>up</c> makes.</summary>
    public string State { get; }

    /// <summary>An empty directory for <c>up</c> to mount at.</summary>
    public string Mount { get; }

    /// <summary>The launcher, as users start the program.</summary>
    public static string Launcher => Path.Combine(Root, "ephemeralfs");

    /// <summary>What the launcher built: the same program, without looking at the sources each time.</summary>
    public static string Program => Built.Value;

    private static string Root
    {
        get
        {
            string root = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(root, "EphemeralFs.sln")))
            {
                root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException($"no EphemeralFs.sln above {AppContext.BaseDirectory}");
            }
            return root;
        }
    }

    /// <summary>A directory beside the mount.</summary>
    public string MakeDirectory(string name) => Directory.CreateDirectory(Path.Combine(Home, name)).FullName;

    /// <summary>Runs the program with these arguments.</summary>
    public CliResult Run(params string[] arguments) => Run(new Dictionary<string, string>(), arguments);

    /// <summary>Runs the program with these variables and arguments.</summary>
    public CliResult Run(IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        string errors = ErrorFile();
        return Finish(Prepare([Program, .. arguments], errors, environment).Run(), errors);
    }

    /// <summary>Runs any command line, such as one that changes the user and then becomes the program.</summary>
    public CliResult RunAny(params string[] command)
    {
        string errors = ErrorFile();
        return Finish(Prepare(command, errors, new Dictionary<string, string>()).Run(), errors);
    }

    /// <summary>Starts the program; it is this test's child.</summary>
    public CliRunning Start(params string[] arguments) => Start(new Dictionary<string, string>(), arguments);

    /// <summary>Starts the program with these variables.</summary>
    public CliRunning Start(IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        string outputs = ErrorFile();
        return new CliRunning(Prepare(["/bin/sh", "-c", "exec \"$@\" >\"$0.out\"", outputs, Program, .. arguments], outputs, environment).Start(), outputs);
    }

    /// <summary>A small cluster in the background, mounted at <see cref="Mount"/>.</summary>
    public void Up(params string[] options) => Run(["up", Mount, "--detach", "--capacity", "512M", .. options]).MustSucceed();

    /// <summary><c>status --json</c>.</summary>
    public JsonElement Status()
    {
        using var document = JsonDocument.Parse(Run("status", "--json").MustSucceed());
        return document.RootElement.Clone();
    }

    /// <summary>Waits for a status; what is waited for is short of forever, and no test depends on how long it takes.</summary>
    public JsonElement Until(Func<JsonElement, bool> condition)
    {
        JsonElement last = default;
        Wait.For(() => condition(last = Status()), () => $"the status stayed at {last}");
        return last;
    }

    /// <summary>The process id of a role.</summary>
    public static int PidOf(JsonElement status, string role, string? name = null) =>
        status.GetProperty("roles").EnumerateArray().First(r => r.Text("role") == role && (name is null || r.Text("name") == name)).GetProperty("pid").GetInt32();

    /// <summary>Everything below the home, mounts not entered.</summary>
    public SortedSet<string> Tree()
    {
        var found = new SortedSet<string>(StringComparer.Ordinal);
        Walk(Home);
        return found;

        void Walk(string directory)
        {
            foreach (string entry in Directory.EnumerateFileSystemEntries(directory).Where(e => !Path.GetFileName(e).StartsWith("stderr.", StringComparison.Ordinal)))
            {
                found.Add(Path.GetRelativePath(Home, entry));
                if (MountTable.Find(entry) is null && Directory.Exists(entry) && new FileInfo(entry).LinkTarget is null)
                {
                    Walk(entry);
                }
            }
        }
    }

    /// <summary>Processes that a cluster in the state directory started.</summary>
    public IReadOnlyList<int> Processes()
    {
        byte[] mark = Encoding.UTF8.GetBytes($"EPHEMERALFS_CLUSTER={State}\0");
        return [.. Directory.EnumerateDirectories("/proc").Select(d => int.TryParse(Path.GetFileName(d), out int pid) ? pid : 0)
            .Where(pid => pid != 0 && ReadEnvironment(pid).AsSpan().IndexOf(mark) >= 0)];
    }

    /// <summary>Fails if a cluster in the state directory left a process, a mount, a socket or a file, here or where the program puts such things.</summary>
    public void NothingRemains()
    {
        Assert.Empty(Processes());
        Assert.DoesNotContain(Home + "/", File.ReadAllText("/proc/self/mountinfo"), StringComparison.Ordinal);
        Assert.False(Path.Exists(State), $"left in the state directory: {(Directory.Exists(State) ? string.Join(' ', Directory.GetFileSystemEntries(State)) : "")}");
        string id = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(State)))[..12];
        foreach (string directory in new[] { "/dev/shm", "/run", "/tmp", Path.GetTempPath() })
        {
            Assert.Empty(Directory.GetFileSystemEntries(directory, $"*{id}*"));
        }
    }

    public void Dispose()
    {
        var down = Run("down", "--purge");
        foreach (int pid in Processes())
        {
            // A test that fails here has found something that 'down' does not find; the machine is left clean all the same.
            Signals.Send(pid, Signals.Kill);
        }
        down.MustSucceed();
        NothingRemains();
        Scratch.Remove(Home);
    }

    private static byte[] ReadEnvironment(int pid)
    {
        try
        {
            return File.ReadAllBytes($"/proc/{pid}/environ");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // gone
        }
    }

    private static string Build()
    {
        new Command(Root, 1200, Launcher, "version").With("HOME", Environment.GetEnvironmentVariable("HOME") ?? "/root")
            .With("PATH", Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Run().MustSucceed();
        string builds = Path.Combine(Root, "artifacts", "launcher");
        return Path.Combine(builds, File.ReadAllText(Path.Combine(builds, "current")).Trim(), "ephemeralfs");
    }

    private string ErrorFile() => Path.Combine(Home, $"stderr.{Interlocked.Increment(ref counter)}");

    private Command Prepare(IReadOnlyList<string> command, string errors, IReadOnlyDictionary<string, string> environment)
    {
        var prepared = new Command(Home, 120, "/bin/sh", ["-c", "exec \"$@\" 2>\"$0\"", errors, .. command])
            .With("EPHEMERALFS_STATE", State)
            .With("HOME", Environment.GetEnvironmentVariable("HOME") ?? "/root")
            .With("PATH", Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin");
        foreach (var (name, value) in environment)
        {
            prepared.With(name, value);
        }
        return prepared;
    }

    private static CliResult Finish(CommandResult result, string errors)
    {
        string text = File.ReadAllText(errors);
        File.Delete(errors);
        return new CliResult(result, text);
    }
}

/// <summary>The program while it runs. Disposing kills it.</summary>
public sealed class CliRunning : IDisposable
{
    private readonly Command.Running running;
    private readonly string outputs;

    internal CliRunning(Command.Running running, string outputs) => (this.running, this.outputs) = (running, outputs);

    public int Pid => running.Process.Id;

    /// <summary>Standard output so far.</summary>
    public string Output => File.Exists(outputs + ".out") ? File.ReadAllText(outputs + ".out") : "";

    /// <summary>Standard error so far.</summary>
    public string Error => File.Exists(outputs) ? File.ReadAllText(outputs) : "";

    /// <summary>Waits until standard output has these words.</summary>
    public void Says(string words) => Wait.For(
        () => Output.Contains(words, StringComparison.Ordinal), () => $"'{words}' expected in:\n{Output}\nstandard error:\n{Error}");

    /// <summary>Waits until it ends.</summary>
    public CliResult End()
    {
        var result = running.Wait() with { Output = Output };
        return new CliResult(result, Error);
    }

    public void Dispose() => running.Dispose();
}

/// <summary>Shorthand for the program's JSON.</summary>
internal static class Json
{
    public static string Text(this JsonElement element, string property) => element.GetProperty(property).GetString()!;

    public static IEnumerable<JsonElement> List(this JsonElement element, string property) => element.GetProperty(property).EnumerateArray();
}

/// <summary>Bounded waiting for what another process does.</summary>
internal static class Wait
{
    private const int BoundMs = 60_000;
    private const int BetweenMs = 20;

    public static void For(Func<bool> condition, Func<string> otherwise)
    {
        long start = Environment.TickCount64;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 - start < BoundMs, otherwise());
            Thread.Sleep(BetweenMs); // only paces the looking
        }
    }
}

/// <summary><c>kill(2)</c>, by process id.</summary>
internal static partial class Signals
{
    public const int HangUp = 1, Interrupt = 2, Kill = 9, Terminate = 15, Continue = 18, Stop = 19;

    [System.Runtime.InteropServices.LibraryImport("libc", EntryPoint = "kill")]
    private static partial int KillCall(int pid, int signal);

    public static bool Send(int pid, int signal)
    {
        Assert.True(pid > 1, $"{pid} is no process of ours");
        return KillCall(pid, signal) == 0;
    }
}
