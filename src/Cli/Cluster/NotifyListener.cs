using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Cluster;

/// <summary>What a started process tells of its start.</summary>
/// <param name="Pid">Which process.</param>
/// <param name="Values">The lines.</param>
internal sealed record Notification(int Pid, IReadOnlyDictionary<string, string> Values)
{
    public bool IsReady => Values.ContainsKey("READY");

    /// <summary>Why the start failed, or null.</summary>
    public string? Failure => Values.GetValueOrDefault(RoleHost.FailedKey);

    public string Endpoint => Values.GetValueOrDefault(RoleHost.EndpointKey, "");

    public string Metrics => Values.GetValueOrDefault(RoleHost.MetricsKey, "");
}

/// <summary>Receives the datagrams of <see cref="ServiceNotifier"/> and gives them to whoever waits for that process.</summary>
internal sealed class NotifyListener : IDisposable
{
    private readonly Socket _socket;
    private readonly ConcurrentDictionary<int, TaskCompletionSource<Notification>> _starts = [];

    public NotifyListener(string path)
    {
        Path = path;
        File.Delete(path);
        _socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        _socket.Bind(new UnixDomainSocketEndPoint(path));
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        new Thread(Receive, 128 << 10) { IsBackground = true, Name = "notify" }.Start();
    }

    /// <summary>The socket.</summary>
    public string Path { get; }

    /// <summary>Any process became ready or failed; for those whose process id is not known beforehand.</summary>
    public event Action<Notification>? Received;

    /// <summary>Completes when this process is ready or has failed.</summary>
    public Task<Notification> StartOf(int pid) => Start(pid).Task;

    /// <summary>Waits until a process that we started is ready; throws with its own words when it fails or ends.</summary>
    /// <param name="child">The process.</param>
    /// <param name="what">For messages: "metadata server metadata-1".</param>
    /// <param name="log">Its log file, for messages.</param>
    /// <param name="patience">A bound.</param>
    /// <param name="stopping">Gives up.</param>
    public async Task<Notification> WaitUntilReadyAsync(ChildProcess child, string what, string log, TimeSpan patience, CancellationToken stopping)
    {
        var start = StartOf(child.Pid);
        try
        {
            await Task.WhenAny(start, child.Exited).WaitAsync(patience, stopping).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new StartupException($"{what} was not ready after {patience.TotalSeconds:0} s: see {log}");
        }

        // Its last words may still be on their way through the socket.
        if (!start.IsCompleted && !await Within(start, TimeSpan.FromMilliseconds(200)).ConfigureAwait(false))
        {
            throw new StartupException($"{what} did not start ({await child.Exited.ConfigureAwait(false)}): {LastLine(log)}");
        }

        var notification = await start.ConfigureAwait(false);
        _starts.TryRemove(child.Pid, out _);
        return notification.IsReady ? notification : throw new StartupException($"{what} did not start: {notification.Failure}");
    }

    public void Dispose()
    {
        _socket.Dispose();
        File.Delete(Path);
    }

    private static async Task<bool> Within(Task task, TimeSpan patience)
    {
        try
        {
            await task.WaitAsync(patience).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private static string LastLine(string log)
    {
        try
        {
            return File.ReadLines(log).LastOrDefault(line => line.Length > 0) ?? $"it wrote nothing to {log}";
        }
        catch (IOException)
        {
            return $"see {log}";
        }
    }

    private TaskCompletionSource<Notification> Start(int pid) =>
        _starts.GetOrAdd(pid, static _ => new TaskCompletionSource<Notification>(TaskCreationOptions.RunContinuationsAsynchronously));

    private void Receive()
    {
        var buffer = new byte[8192];
        while (true)
        {
            int length;
            try
            {
                length = _socket.Receive(buffer);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }

            var values = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var line in Encoding.UTF8.GetString(buffer, 0, length).Split('\n'))
            {
                var equals = line.IndexOf('=', StringComparison.Ordinal);
                if (equals > 0)
                {
                    values[line[..equals]] = line[(equals + 1)..];
                }
            }

            if (!values.TryGetValue("MAINPID", out var text) || !int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var pid))
            {
                continue;
            }

            var notification = new Notification(pid, values);
            if (notification.IsReady || notification.Failure is not null)
            {
                Start(pid).TrySetResult(notification);
                Received?.Invoke(notification);
            }
        }
    }
}
