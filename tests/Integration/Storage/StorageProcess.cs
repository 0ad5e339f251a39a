using System.Diagnostics;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Integration.Storage;

/// <summary>A storage server in a process of its own that can be killed and started again on the same directories.</summary>
internal sealed class StorageProcess : IDisposable
{
    private Process? _process;

    public StorageProcess()
    {
        Root = Directory.CreateTempSubdirectory("efs-storage-").FullName;
        Directory.CreateDirectory(Path.Combine(Root, "tier"));
        Endpoint = Endpoint.Unix(Path.Combine(Root, "s.sock"));
    }

    public string Root { get; }

    public Endpoint Endpoint { get; }

    /// <summary>Starts it and waits until it serves.</summary>
    /// <param name="killPoint">Where it shall die, or null.</param>
    public async Task StartAsync(string? killPoint = null)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "EphemeralFs.Tests.StorageServer.dll"));
        start.ArgumentList.Add(Endpoint.Text);
        start.ArgumentList.Add(Path.Combine(Root, "state"));
        start.ArgumentList.Add($"ssd={Path.Combine(Root, "tier")}={256 << 20}");
        start.Environment[KillPoint.Variable] = killPoint ?? "";
        _process?.Dispose();
        _process = Process.Start(start)!;
        Assert.Equal("ready", await _process.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromMinutes(2)));
    }

    public void Kill()
    {
        _process!.Kill();
        _process.WaitForExit();
    }

    /// <summary>Waits until it has died at its kill point.</summary>
    public async Task DiedAsync()
    {
        await _process!.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(2));
        Assert.Equal(128 + 9, _process.ExitCode);
    }

    public void Dispose()
    {
        if (_process is { HasExited: false })
        {
            Kill();
        }

        _process?.Dispose();
        Directory.Delete(Root, recursive: true);
    }
}
