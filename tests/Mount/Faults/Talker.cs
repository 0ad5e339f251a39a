using System.Globalization;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// A program (Python) that stays and does what it is told: it keeps descriptors, mappings and locks of a mount over what happens to the mount.
/// Disposing ends it.
/// </summary>
internal sealed class Talker : IDisposable
{
    /// <summary>Longer than any call may take: what hangs is killed, and the test has failed.</summary>
    private const int Seconds = 120;

    /// <summary>Each line is an expression; <c>keep(name=value)</c> keeps something.</summary>
    private const string Program = """
        import errno, fcntl, mmap, os, signal, sys
        def keep(**values): globals().update(values)
        def child(work):
            pid = os.fork()
            if pid == 0:
                work()
                os._exit(0)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for number, line in enumerate(sys.stdin):
            try:
                answer = repr(eval(line))
            except OSError as e:
                answer = errno.errorcode[e.errno]
            print(f"{number}: {answer}", flush=True)
        """;

    private readonly Command.Running running;
    private int asked;

    public Talker(string directory) => running = new Command(directory, Seconds, Tool.Python, "-c", Program).Start();

    /// <summary>Has it evaluate an expression; the value as Python writes it, or the name of an error number.</summary>
    public string Do(string expression) => Answer(Begin(expression));

    /// <summary>The same without waiting.</summary>
    public int Begin(string expression)
    {
        running.Process.StandardInput.WriteLine(expression);
        running.Process.StandardInput.Flush();
        return asked++;
    }

    /// <summary>Waits for what was begun.</summary>
    public string Answer(int number)
    {
        string prefix = string.Create(CultureInfo.InvariantCulture, $"{number}: ");
        return running.WaitForLineThatBeginsWith(prefix)[prefix.Length..];
    }

    public void Dispose() => running.Dispose();
}
