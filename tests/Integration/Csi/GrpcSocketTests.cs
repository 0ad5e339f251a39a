using System.Net.Sockets;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Hosting;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>The files of the server's sockets.</summary>
public sealed class GrpcSocketTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("efs-csi-").FullName;

    private string Socket => Path.Combine(_root, "csi.sock");

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task Several_sockets_are_private_alone_in_their_directories_and_gone_at_the_end()
    {
        var second = Path.Combine(Directory.CreateDirectory(Path.Combine(_root, "second")).FullName, "b.sock");
        await using (var server = await StartAsync(Socket, second))
        {
            Assert.Equal([Socket, second], server.Sockets);
            foreach (var path in server.Sockets)
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
                Assert.Single(Directory.GetFiles(Path.GetDirectoryName(path)!));
                (await new CsiClient(path).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
            }

            var kernel = File.ReadLines("/proc/net/unix").Count(line => line.EndsWith(_root + "/csi.sock", StringComparison.Ordinal) || line.EndsWith(second, StringComparison.Ordinal));
            Assert.True(kernel >= 2, "the sockets are not listening where they should");
        }

        Assert.Equal(Path.GetDirectoryName(second), Assert.Single(Directory.GetFileSystemEntries(_root)));
        Assert.Empty(Directory.GetFileSystemEntries(Path.GetDirectoryName(second)!));
    }

    [Fact]
    public async Task A_socket_that_a_dead_process_left_is_replaced_and_a_client_finds_the_new_server()
    {
        await using (await StartAsync(Socket))
        {
            (await new CsiClient(Socket).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
        }

        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(Socket));
            File.Move(Socket, Socket + ".kept"); // closing a socket of .NET removes its file, a process that is killed does not
        }

        File.Move(Socket + ".kept", Socket);
        await using var server = await StartAsync(Socket);

        // The client may notice the end of its old connection only by this call, as a kubelet does; then it calls again.
        var client = new CsiClient(Socket);
        var answer = await client.CallAsync("Identity", "Probe");
        (answer.Code == GrpcStatusCode.Unavailable ? await client.CallAsync("Identity", "Probe") : answer).Fails(GrpcStatusCode.Unimplemented);
    }

    [Fact]
    public async Task A_socket_that_is_alive_is_left_alone()
    {
        await using (await StartAsync(Socket))
        {
            var error = await Assert.ThrowsAsync<StartupException>(() => StartAsync(Socket));
            Assert.Contains("is in use", error.Message, StringComparison.Ordinal);
            (await new CsiClient(Socket).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);

            // The first socket of two is given back when the second cannot be had.
            var other = Path.Combine(_root, "other.sock");
            await Assert.ThrowsAsync<StartupException>(() => StartAsync(other, Socket));
            Assert.False(Path.Exists(other));
        }

        using var full = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        full.Bind(new UnixDomainSocketEndPoint(Socket));
        full.Listen(0);
        using var waiting = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        waiting.Connect(new UnixDomainSocketEndPoint(Socket)); // its backlog is full and it accepts nobody: it hangs, but lives
        await Assert.ThrowsAsync<StartupException>(() => StartAsync(Socket)).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.True(File.Exists(Socket));
    }

    [Fact]
    public async Task The_last_directory_of_its_path_is_made_and_is_nobody_elses_to_write()
    {
        var path = Path.Combine(_root, "csi.ephemeralfs.io", "csi.sock");
        await using (await StartAsync(path))
        {
            Assert.Equal((UnixFileMode)0, File.GetUnixFileMode(Path.GetDirectoryName(path)!) & (UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute));
            (await new CsiClient(path).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
        }

        await using (await StartAsync(path))
        {
            (await new CsiClient(path).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
        }

        File.WriteAllText(Path.Combine(_root, "file"), "");
        Assert.Contains("cannot be made", (await Assert.ThrowsAsync<StartupException>(() => StartAsync(Path.Combine(_root, "file", "csi.sock")))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Whatever_else_is_in_the_way_is_one_clear_line()
    {
        File.WriteAllText(Socket, "precious");
        Assert.Contains("is no socket", (await Assert.ThrowsAsync<StartupException>(() => StartAsync(Socket))).Message, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(Socket));
        Assert.Contains("does not exist", (await Assert.ThrowsAsync<StartupException>(() => StartAsync(Path.Combine(_root, "no", "such", "csi.sock")))).Message, StringComparison.Ordinal);
        Assert.False(Path.Exists(Path.Combine(_root, "no")));
        Assert.Contains("absolute", (await Assert.ThrowsAsync<StartupException>(() => StartAsync("csi.sock"))).Message, StringComparison.Ordinal);
        var deep = Directory.CreateDirectory(Path.Combine(_root, new string('d', 100))).FullName;
        Assert.Contains("shorter", (await Assert.ThrowsAsync<StartupException>(() => StartAsync(Path.Combine(deep, "csi.sock")))).Message, StringComparison.Ordinal);
    }

    private static Task<GrpcServer> StartAsync(params string[] sockets) =>
        GrpcServer.StartAsync(new GrpcServerOptions { Sockets = sockets }, [], new LogLines(), CancellationToken.None);
}
