using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>A metadata server in a process of its own that can be killed and started again on the same state.</summary>
internal sealed class MetadataProcess : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);
    private readonly string _root = Directory.CreateTempSubdirectory("efs-metadata-").FullName;
    private Process? _process;

    public MetadataProcess() => Endpoint = Endpoint.Unix(Path.Combine(_root, "s.sock"));

    public Endpoint Endpoint { get; }

    public int Pid => _process!.Id;

    public string VolumeDirectory => Path.Combine(_root, "metadata", "volumes", "1");

    /// <summary>Starts it and waits until it serves.</summary>
    /// <param name="killPoint">Where it shall die, or null.</param>
    /// <param name="snapshotAfterBytes">Journal between snapshots.</param>
    /// <param name="storage">The storage server with id 1, or null for none.</param>
    public async Task StartAsync(string? killPoint = null, long snapshotAfterBytes = 64 << 20, Endpoint? storage = null)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "EphemeralFs.Tests.MetadataServer.dll"));
        start.ArgumentList.Add(Endpoint.Text);
        start.ArgumentList.Add(_root);
        start.ArgumentList.Add(snapshotAfterBytes.ToString(CultureInfo.InvariantCulture));
        if (storage is not null)
        {
            start.ArgumentList.Add(storage.Text);
        }

        start.Environment[KillPoint.Variable] = killPoint ?? "";
        _process?.Dispose();
        _process = Process.Start(start)!;
        Assert.Equal("ready", await _process.StandardOutput.ReadLineAsync().WaitAsync(s_patience));
    }

    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync().WaitAsync(s_patience);
    }

    /// <summary>Waits until it has died at its kill point.</summary>
    public async Task DiedAsync()
    {
        await _process!.WaitForExitAsync().WaitAsync(s_patience);
        Assert.Equal(128 + 9, _process.ExitCode);
    }

    /// <summary>Sets the largest file that it can write, or lifts the limit.</summary>
    public async Task LimitFileSizeAsync(long? bytes)
    {
        var limit = bytes?.ToString(CultureInfo.InvariantCulture) ?? "unlimited";
        using var prlimit = Process.Start("prlimit", ["--pid", Pid.ToString(CultureInfo.InvariantCulture), $"--fsize={limit}:unlimited"]);
        await prlimit.WaitForExitAsync().WaitAsync(s_patience);
        Assert.Equal(0, prlimit.ExitCode);
    }

    public void Dispose()
    {
        if (_process is { HasExited: false })
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process?.Dispose();
        Directory.Delete(_root, recursive: true);
    }
}
