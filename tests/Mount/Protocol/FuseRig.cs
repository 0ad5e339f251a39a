using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.Mount.Protocol;

/// <summary>A real mount served from this process, and unmounted at the end.</summary>
internal sealed class FuseRig : IDisposable
{
    private readonly List<FuseConnection> _connections = [];
    private readonly List<SafeFileHandle> _spare = [];
    private readonly string _base;

    public FuseRig(
        FuseHandler handler,
        Func<FuseConnectionOptions, FuseConnectionOptions>? change = null,
        FuseMountOptions? mount = null)
    {
        Require();
        _base = System.IO.Directory.CreateTempSubdirectory("efs-protocol-").FullName;
        Dir = Path.Combine(_base, "mnt");
        System.IO.Directory.CreateDirectory(Dir);
        Options = new FuseConnectionOptions { Workers = 2, OnFault = Faults.Add, DetectMisuse = true };
        Options = change?.Invoke(Options) ?? Options;
        Point = FuseMounter.Mount(Dir, mount ?? new FuseMountOptions { FsName = "ephemeralfs:protocol test" });
        FuseConnection connection = FuseConnection.Open(handler, Options, Point.Device);
        _connections.Add(connection);
        foreach (int fd in connection.Descriptors)
        {
            Assert.Equal(Errno.OK, DeviceIo.Duplicate(fd, out int copy));
            _spare.Add(new SafeFileHandle(copy, ownsHandle: true));
        }
        connection.Start();
    }

    public string Dir { get; }

    public FuseMountPoint Point { get; }

    public FuseConnectionOptions Options { get; }

    public ConcurrentBag<FuseFault> Faults { get; } = [];

    public FuseConnection Connection => _connections[^1];

    /// <summary>These tests are worth nothing without a kernel: they fail rather than be skipped.</summary>
    public static void Require()
    {
        Assert.True(Mounts.EffectiveUserId == 0, "the tests in tests/Mount need root");
        Assert.True(File.Exists("/dev/fuse"), "the tests in tests/Mount need /dev/fuse");
    }

    /// <summary>A successor on copies of the descriptors, as the keeper would hand them over.</summary>
    public FuseConnection Successor(FuseHandler handler)
    {
        var handles = new List<SafeFileHandle>();
        foreach (SafeFileHandle spare in _spare)
        {
            Assert.Equal(Errno.OK, DeviceIo.Duplicate((int)spare.DangerousGetHandle(), out int copy));
            handles.Add(new SafeFileHandle(copy, ownsHandle: true));
        }
        FuseConnection next = FuseConnection.Resume(handler, Options, _connections[0].Negotiated, handles);
        _connections.Add(next);
        next.Start();
        return next;
    }

    public string PathOf(string name) => Path.Combine(Dir, name);

    public void Dispose()
    {
        if (MountTable.Find(Dir) is not null)
        {
            FuseMounter.Unmount(Dir, lazy: true);
        }
        _connections.ForEach(c => c.Dispose());
        _spare.ForEach(s => s.Dispose());
        System.IO.Directory.Delete(_base, recursive: true);
    }
}

/// <summary>Runs programs, always with an end.</summary>
internal static class Program
{
    private const int LimitMs = 60_000;

    public static (int Exit, string Out, string Error) Run(string file, params string[] arguments)
    {
        using Process process = Start(file, arguments);
        return Finish(process);
    }

    public static Process Start(string file, params string[] arguments)
    {
        var start = new ProcessStartInfo(file) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }
        start.Environment["LC_ALL"] = "C";
        return Process.Start(start)!;
    }

    public static (int Exit, string Out, string Error) Finish(Process process)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(LimitMs))
        {
            process.Kill();
            Assert.Fail($"{process.StartInfo.FileName} did not end");
        }
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    /// <summary>The program's output; it must succeed.</summary>
    public static string Output(string file, params string[] arguments)
    {
        (int exit, string output, string error) = Run(file, arguments);
        Assert.True(exit == 0, $"{file} {string.Join(' ', arguments)} ended with {exit}: {error}");
        return output;
    }
}
