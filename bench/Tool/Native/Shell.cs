using System.Collections;
using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Native;

/// <summary>Runs programs as a shell script, with posix_spawn and wait4: no pipes of this process between them, and their CPU is known exactly.</summary>
internal static unsafe class Shell
{
    /// <summary>Runs the script to its end; throws with the end of what it wrote to standard error if it fails.</summary>
    /// <param name="script">For /bin/sh -e; its standard output goes to <paramref name="output"/>.</param>
    /// <param name="output">A file outside of the measured system; its neighbour <c>.err</c> gets the errors.</param>
    /// <returns>Wall time in nanoseconds and the CPU of the script and its children.</returns>
    public static Outcome Run(string script, string output)
    {
        string errors = output + ".err";
        byte*[] arguments = new byte*[4];
        using var shell = new CString("/bin/sh");
        using var options = new CString("-ec");
        using var text = new CString($"exec > '{output}' 2> '{errors}' < /dev/null\n{script}");
        arguments[0] = shell.Pointer;
        arguments[1] = options.Pointer;
        arguments[2] = text.Pointer;

        List<CString> environment = [.. Environment()];
        byte*[] variables = new byte*[environment.Count + 1];
        for (int i = 0; i < environment.Count; i++)
        {
            variables[i] = environment[i].Pointer;
        }

        int pid;
        int status;
        Libc.RUsage usage;
        long start = Sys.Now();
        fixed (byte** argv = arguments)
        fixed (byte** envp = variables)
        {
            int error = Libc.PosixSpawn(&pid, shell.Pointer, null, null, argv, envp);
            if (error != 0)
            {
                throw new BenchException($"posix_spawn: error {error}");
            }
        }

        Sys.Check(Libc.Wait4(pid, &status, 0, &usage), "wait4");
        long wall = Sys.Now() - start;
        environment.ForEach(variable => variable.Dispose());
        if (status != 0)
        {
            string said = File.Exists(errors) ? File.ReadAllText(errors).Trim() : "";
            string command = script.Split('\n')[^1].Trim();
            throw new BenchException($"`{command}` ended with status {status >> 8}: {said[^Math.Min(said.Length, 200)..]}");
        }

        return Outcome.Duration(wall) with { ProgramCpuSeconds = usage.CpuSeconds };
    }

    /// <summary>This process's environment, with everything that would let a user's settings change what is measured taken out.</summary>
    private static IEnumerable<CString> Environment()
    {
        foreach (DictionaryEntry variable in System.Environment.GetEnvironmentVariables())
        {
            string name = (string)variable.Key;
            if (!name.StartsWith("GIT_", StringComparison.Ordinal) && name is not ("MAKEFLAGS" or "MFLAGS" or "MAKELEVEL" or "CC" or "CFLAGS" or "TMPDIR" or "LC_ALL"))
            {
                yield return new CString($"{name}={variable.Value}");
            }
        }

        yield return new CString("LC_ALL=C");
        yield return new CString("GIT_CONFIG_GLOBAL=/dev/null");
        yield return new CString("GIT_CONFIG_SYSTEM=/dev/null");
    }

    private sealed class CString : IDisposable
    {
        private readonly NativeBuffer _buffer;

        public CString(string text)
        {
            byte[] bytes = Sys.Terminated(text);
            _buffer = new NativeBuffer(bytes.Length);
            bytes.CopyTo(new Span<byte>(_buffer.Pointer, bytes.Length));
        }

        public byte* Pointer => _buffer.Pointer;

        public void Dispose() => _buffer.Dispose();
    }
}
