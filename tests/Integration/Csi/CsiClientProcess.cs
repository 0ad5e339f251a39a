using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>The process of <c>client/client.js</c>: gRPC for Node, which shares no code with ours. One for all tests of a run.</summary>
internal sealed class CsiClientProcess
{
    private static readonly TimeSpan s_installTime = TimeSpan.FromMinutes(4);
    private static readonly Lazy<Task<CsiClientProcess>> s_shared = new(() => Task.Run(StartAsync));

    private readonly Process _process;
    private readonly ConcurrentDictionary<long, TaskCompletionSource<JsonObject>> _calls = new();
    private readonly Lock _write = new();
    private long _lastId;

    private CsiClientProcess(Process process) => _process = process;

    /// <summary>Directory of the repository.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The process, started (and installed) at the first call. It ends with this process, whose pipe it reads.</summary>
    public static Task<CsiClientProcess> GetAsync() => s_shared.Value;

    /// <summary>Sends a call and waits for its answer; cancelling cancels the call at the server.</summary>
    public async Task<JsonObject> CallAsync(JsonObject request, CancellationToken cancellation)
    {
        var id = Interlocked.Increment(ref _lastId);
        var answer = new TaskCompletionSource<JsonObject>(TaskCreationOptions.RunContinuationsAsynchronously);
        _calls[id] = answer;
        request["id"] = id;
        Send(request);
        using var registration = cancellation.Register(() => Send(new JsonObject { ["cancel"] = id }));
        return await answer.Task.WaitAsync(TimeSpan.FromMinutes(2), CancellationToken.None);
    }

    private static async Task<CsiClientProcess> StartAsync()
    {
        var directory = await InstallAsync();
        var start = new ProcessStartInfo("node") { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(Path.Combine(directory, "client.js"));
        foreach (var proto in Directory.GetFiles(Path.Combine(Repository, "src", "CsiDriver", "Protos"), "*.proto"))
        {
            start.ArgumentList.Add(proto);
        }

        var client = new CsiClientProcess(Start(start));
        var errors = client._process.StandardError.ReadToEndAsync();
        var first = await client._process.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromMinutes(1));
        Assert.True(first == "ready", $"the gRPC client for Node did not start: {(first is null ? await errors : first)}");
        _ = client.ReadAsync(errors);
        return client;
    }

    /// <summary>Installs the packages once for each state of the client's files; other processes that want the same wait for it.</summary>
    private static async Task<string> InstallAsync()
    {
        var source = Path.Combine(Repository, "tests", "Integration", "Csi", "client");
        string[] files = ["package.json", ".npmrc", "client.js"];
        var state = Convert.ToHexStringLower(SHA256.HashData([.. files.SelectMany(file => File.ReadAllBytes(Path.Combine(source, file)))]))[..16];
        var all = Path.Combine(Repository, "artifacts", "csi-client");
        var target = Directory.CreateDirectory(Path.Combine(all, state)).FullName;

        // flock(1) waits in the kernel until the other one has installed, and lets go when that one dies.
        const string Script = """
            [ -e done ] && exit 0
            cp "$1"/package.json "$1"/.npmrc "$1"/client.js . && npm install --ignore-scripts --no-audit --no-fund --loglevel=error && : >done
            """;
        var start = new ProcessStartInfo("flock")
        {
            ArgumentList = { Path.Combine(all, "lock"), "sh", "-c", Script, "sh", source },
            WorkingDirectory = target,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Start(start);
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(s_installTime);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"npm install did not end within {s_installTime}: is the npm registry reachable? It runs in {target}");
        }

        Assert.True(
            process.ExitCode == 0,
            $"the gRPC client of the CSI tests cannot be installed: install node and npm (Debian packages nodejs and npm) and let npm reach its registry. {await output} {await errors}");
        return target;
    }

    private static Process Start(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new InvalidOperationException(
                $"{start.FileName} cannot be started: the CSI tests need node, npm (Debian packages nodejs and npm) and flock (util-linux)", e);
        }
    }

    private static string FindRepository()
    {
        var directory = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(directory.FullName, "EphemeralFs.sln")))
        {
            directory = directory.Parent ?? throw new InvalidOperationException($"no repository above {AppContext.BaseDirectory}");
        }

        return directory.FullName;
    }

    private void Send(JsonObject line)
    {
        lock (_write)
        {
            _process.StandardInput.WriteLine(line.ToJsonString());
            _process.StandardInput.Flush();
        }
    }

    private async Task ReadAsync(Task<string> errors)
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } line)
        {
            var answer = JsonNode.Parse(line)!.AsObject();
            if (_calls.TryRemove((long)answer["id"]!, out var call))
            {
                call.SetResult(answer);
            }
        }

        var error = new InvalidOperationException($"the gRPC client for Node has ended: {await errors}");
        foreach (var (id, call) in _calls)
        {
            _calls.TryRemove(id, out _);
            call.TrySetException(error);
        }
    }
}
